"""report.html: complete, self-contained, escaped; and which samples it shows."""

import re
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest

from compress.modalities.modality import modality
from compress.recipe.sections import Budget
from compress.reporting.budgets import check_summary
from compress.reporting.choice import choose_precision
from compress.reporting.summary import summarise_run
from compress.stages.report import write_report


def share(value, samples=9673):
    return {"value": value, "low": value - 0.002, "high": min(1, value + 0.002), "correct": round(value * samples), "samples": samples}


def paired(difference, samples=9673):
    """A comparison with half a point of noise on either side."""
    counts = {"a_only": 30, "b_only": 40, "p": 0.3, "samples": samples, "clusters": 1000}
    return {"difference": difference, "low": difference - 0.5, "high": difference + 0.5, **counts, "verdict": "not shown"}


def latency(ms, over, fp32):
    ratios = {"teacher_over_this": over, "this_over_fp32": fp32}
    entry = {"median_ms": ms, "p95_ms": 1.2 * ms, "mean_ms": ms, "low_ms": 0.99 * ms, "high_ms": 1.01 * ms, "rounds": 200, "unit": "ms"}
    return entry | {key: {"value": v, "low": 0.97 * v, "high": 1.03 * v, "rounds": 200} for key, v in ratios.items()}


def model(role, precision, *, right, size, ms, target=None):
    timed = {batch: latency(ms * factor, 6.6 / ms, ms / 0.3) for batch, factor in (("1", 1), ("8", 6))} if ms else None
    return {
        "role": role,
        "precision": precision,
        "target": target,
        "size": {"value": size},
        "parameters": {"value": size // 4},
        "accuracy": {**share(right), "against_teacher": paired(100 * (right - 0.994)), "against_fp32": paired(100 * (right - 0.992))},
        "metrics": {},
        "agreement": {"value": 0.98},
        "non_finite": {"value": 0},
        "peak_memory": {"value": 90_000_000} if ms else None,
        "latency": timed,
        "by_answer": [{"name": "<red>", **share(right, 500)}, {"name": "yes", **share(right - 0.01, 800)}],
        "by_kind": [{"name": "colour", **share(right, 500)}],
        "by_slice": {"site": [{"name": "Oslo", **share(right - 0.2, 20)}, {"name": "Rome", **share(0.1, 9)}]},
    }


@pytest.fixture
def measurements():
    return {
        "models": {
            "teacher": {**model("teacher", "fp32", right=0.994, size=115_000_000, ms=6.6), "accuracy": share(0.994)},
            "student": model("student", "fp32", right=0.992, size=1_000_000, ms=0.3),
            "int8_qat": model("student", "int8_qat", right=0.991, size=350_000, ms=0.2),
            "int8_arm": model("student", "int8_qat", right=0.991, size=350_000, ms=None, target="onnxruntime_arm"),
        },
        "baselines": {"majority": {**share(0.3), "answer": "yes"}, "text_alone": {"value": 0.67, "samples": 9673}},
        "device": {"name": "AMD EPYC", "runtime": "onnxruntime 1.31.1", "flags": ["avx2"], "vnni": False},
        "target": "onnxruntime_x86",
        "task": {"name": "single_label", "measure": "accuracy", "constant": "the commonest answer"},
        "threads": 1,
        "samples": 9673,
        "command": "python -m compress.stages.benchmark job.json measurements.json",
    }


COMPARISON = {
    "distilled": 0.99,
    "alone": 0.99,
    "verdict": "no difference",
    "sentence": "99 % with, 99 % alone: the student alone would do as well",
}
STAGES = [{"name": "teacher", "seconds": 130.5, "peak_bytes": 2_400_000_000}, {"name": "distill", "seconds": 69.5, "peak_bytes": None}]


@pytest.fixture
def summary(measurements):
    choice = choose_precision(measurements, target="onnxruntime_x86")
    return summarise_run(
        measurements, choice, name="mobile_vqa", stages=STAGES, exports={"onnxruntime_x86": "5-export/q.onnx"}, comparison=COMPARISON
    )


def test_summary_numbers(summary):
    expected = {
        "size_ratio": 115,
        "latency_ratio": 6.6 / 0.3,
        "seconds_cold": 200.0,
        "peak_bytes": 2_400_000_000,
        "int8_accuracy_drop_points": 0.1,
        "int8_size_over_fp32": 0.35,
        "int8_latency_over_fp32": 0.2 / 0.3,
        "shipped_accuracy": 0.991,
        "shipped_drop_points": 0.3,
        "shipped_drop_low_points": -0.2,
        "shipped_drop_high_points": 0.8,
        "shipped_size_ratio": 115e6 / 350e3,
        "shipped_latency_ratio": 33,
        "text_alone_accuracy": 0.67,
    }
    assert {key: summary[key] for key in expected} == pytest.approx(expected)
    assert summary["precision_chosen"] == "int8_qat" and summary["device"] == "AMD EPYC" and summary["teacher_helps"] is False


def test_summary_names_the_worst_part_that_has_rows_enough(summary):
    assert summary["worst_slice"] == "site Oslo"  # Rome has 9 rows
    assert summary["worst_slice_percent"] == pytest.approx(79.1, abs=0.2)


def test_summary_is_flat_but_for_stages_paths_of_exports_and_heads(summary):
    nested = [key for key, value in summary.items() if isinstance(value, dict | list)]
    assert nested == ["stage_seconds", "stage_peak_bytes", "exports", "heads"]


def test_summary_says_how_soft_the_teachers_answers_are(measurements, summary):
    soft = {
        split: {"largest_p": 0.9, "entropy_nats": nats, "answered": 1.0, "samples": 5}
        for split, nats in (("train", 0.1), ("validation", 0.7))
    }
    choice = choose_precision(measurements, target="onnxruntime_x86")
    told = summarise_run(measurements, choice, name="x", stages=[], softness=soft)
    assert (told["teacher_train_entropy_nats"], told["teacher_validation_entropy_nats"], told["teacher_train_answered"]) == (0.1, 0.7, 1.0)
    assert told.keys() == summary.keys() and summary["teacher_train_largest_p"] is None


def test_summary_says_what_each_stage_took(summary):
    assert summary["stage_seconds"] == {"teacher": 130.5, "distill": 69.5}
    assert summary["stage_peak_bytes"] == {"teacher": 2_400_000_000, "distill": None}


def test_summary_has_the_same_keys_without_int8_and_comparison(measurements, summary):
    for name in ("int8_qat", "int8_arm"):
        measurements["models"].pop(name)
    plain = summarise_run(measurements, choose_precision(measurements, target="onnxruntime_x86"), name="x", stages=[])
    assert plain.keys() == summary.keys()
    assert plain["int8_size_over_fp32"] is None and plain["teacher_helps"] is None and plain["precision_chosen"] == "fp32"


def missed(summary, budget):
    return [line.text for line in check_summary(summary, budget) if line.missed]


def test_budget_misses_say_line_and_amount(summary):
    misses = missed(summary, Budget(max_drop_points=0.2, max_size_mb=0.3, min_latency_ratio=30, max_latency_ms=1))
    assert misses == [
        "budget.max_drop_points: 0.3, limit 0.2, missed by 0.1 (95 % interval -0.2 to 0.8, which holds the limit, so it may be chance)",
        "budget.max_size_mb: 0.35, limit 0.3, missed by 0.05",
    ]


def test_budget_says_where_a_miss_is_beyond_chance(summary):
    lost = {"shipped_drop_points": 1.0, "shipped_drop_low_points": 0.5, "shipped_drop_high_points": 1.5}
    misses = missed({**summary, **lost}, Budget(max_drop_points=0.2))
    assert misses == ["budget.max_drop_points: 1, limit 0.2, missed by 0.8 (95 % interval 0.5 to 1.5, beyond chance)"]


class Links(HTMLParser):
    """Everything a page would load, and the tags that were opened and not closed."""

    def __init__(self):
        super().__init__()
        self.loaded, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.loaded += [value for key, value in attrs if key in ("src", "href")]
        if tag not in ("meta", "img", "br", "path", "use", "rect", "line"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.loaded += [value for key, value in attrs if key in ("src", "href")]

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag


def write(tmp_path, summary, measurements, **arguments):
    options = {"extras": {}, "samples": [], **arguments}
    return write_report(tmp_path, summary=summary, measurements=measurements, **options).read_text()


def test_report_is_self_contained_and_complete(tmp_path, summary, measurements):
    extras = {
        "description": "Questions about shapes",
        "notes": ["Train and test share all 107 questions."],
        "skipped": [{"what": "engine", "why": "no GPU driver"}],
        "stages": STAGES,
        "history": {"distilled": [{"step": 10, "accuracy": 0.5}, {"step": 20, "accuracy": 0.9}]},
        "parity": [{"hop": "torch to onnx", "max_difference": 1.5e-6, "agreement": 1.0, "samples": 256}],
        "coverage": {
            "int8_share": 0.973,
            "nodes": [{"operator": "Conv", "int8": 20}],
            "float": [{"node": "softmax", "why": "no int8 kernel"}],
        },
        "sensitivity": [{"layer": "image.0", "drop_points": 0.4}, {"layer": "head", "drop_points": 0.1}],
        "command": "compress run recipes/mobile_vqa.yaml",
        "deciders": [
            {
                "title": "Which input decided",
                "label": "points",
                "bars": {"teacher: image": 30.0},
                "rows": [{"model": "teacher", "input": "image", "points": "30.0 ± 2.0", "rows": 70}],
                "note": "Of 70 rows.",
            }
        ],
        "tables": [{"title": "Devices", "note": "", "rows": [{"device": "phone", "median_ms": 0.9}]}],
    }
    sample = {
        "inputs": {"image": modality("image").show(np.zeros((1, 64, 64, 3), np.uint8), 0), "text": "is it red?"},
        "label": "yes",
        "predictions": {"teacher": "yes", "student": "no"},
        "right": {"teacher": True, "student": False},
        "sure": {"student": 0.61},
    }
    page = write(tmp_path, summary, measurements, extras=extras, samples=[sample], misses=["budget.max_size_mb: 0.35, limit 0.3"])
    links = Links()
    links.feed(page)
    assert links.open == []
    assert all(link.startswith(("data:", "#")) for link in links.loaded) and "@import" not in page
    for text in (
        "107 questions",
        "no GPU driver",
        "torch to onnx",
        "97.30 %",
        "softmax",
        "is it red?",
        "67.00",
        "budget is missed",
        "unmeasured",
        "30.0 ± 2.0",
        "phone",
        "-0.30 points (-0.80 to +0.20), 30 rows against 40 of 9,673 in 1,000 groups, p 0.3",
        "-0.10<br><small>-0.60 – +0.40</small>",
        "rows of one input as one draw of luck",
    ):
        assert text in page, text
    assert page.count("<svg") == 4 and 'class="wrong">no <small>61.0 %</small><' in page and 'class="right">yes<' in page


def test_report_without_extras_leaves_their_parts_out(tmp_path, summary, measurements):
    page = write(tmp_path, summary, measurements)
    assert "Parity" not in page and "Samples" not in page and "budget is missed" not in page and page.count("<svg") == 1


def test_report_escapes_what_it_shows(tmp_path, summary, measurements):
    text = modality("text").show(pa.array(["<script>alert(1)</script>"]), 0)
    sample = {"inputs": {"text": text}, "label": "<b>", "predictions": {"student": "<i>"}, "right": {"student": False}, "sure": {}}
    page = write(tmp_path, {**summary, "name": "<u>"}, measurements, samples=[sample])
    assert not re.search(r"<script|<b>\s*</dd|<i>|<u>", page) and "&lt;red&gt;" in page and "&lt;script&gt;" in page


def test_report_refuses_an_unknown_extra(tmp_path, summary, measurements):
    with pytest.raises(ValueError, match="unknown keys parit"):
        write(tmp_path, summary, measurements, extras={"parit": []})
