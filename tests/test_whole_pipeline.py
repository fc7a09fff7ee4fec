"""The whole chain on a handful of images: what a run leaves behind is complete, plausible, and answers."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import easy_vqa
import fastjsonschema
import numpy as np
import onnx
import pytest
from sklearn.metrics import accuracy_score, f1_score
from typer.testing import CliRunner

from compress.cli import app
from compress.device.manifest import verify_folder
from compress.errors import BUDGET_MISSED
from compress.recipe.grammar import load_recipe
from compress.reporting.cells import count, percent, show_bytes, significant
from compress.reporting.markdown import differing_in_words
from compress.tables import STAGES

FILES = {
    *("fp32.onnx", "fp16.onnx", "int8_dynamic.onnx"),
    *(f"int8_{method}{target}.onnx" for method in ("ptq", "qat") for target in ("", "-onnxruntime_arm", "-tensorrt")),
}
PUBLISHED = Path(__file__).resolve().parents[1] / "docs" / "measurements.schema.json"


@pytest.fixture(scope="module")
def summary(whole_run) -> dict:
    return json.loads((whole_run.runs / "small" / "summary.json").read_text())


@pytest.fixture(scope="module")
def bundle(whole_run) -> Path:
    return whole_run.runs / "small" / "12-bundle" / "bundle"


def test_run_folder_reads_as_the_flow(whole_run) -> None:
    links = [path.name for path in (whole_run.runs / "small").iterdir() if path.is_symlink()]
    links.sort(key=lambda name: (int(name.split("-")[0]), name))
    assert [name.split("-", 1)[1] for name in links] == [stage for stage in STAGES if stage in whole_run.result.artifacts]
    assert links[0] == "1-data"
    assert links[-1] == "12-bundle"


def test_summary_is_what_the_run_gives_back(whole_run, summary) -> None:
    assert whole_run.result.summary == summary
    assert summary["name"] == "small"
    assert whole_run.result.budget_misses == []


@pytest.mark.parametrize("who", ["teacher", "student", "shipped", "text_alone", "majority"])
def test_accuracies_are_shares(summary, who: str) -> None:
    assert 0 < summary[f"{who}_accuracy"] < 1


def test_student_is_smaller_and_faster_than_its_teacher(summary) -> None:
    assert summary["size_ratio"] > 20
    assert summary["size_ratio"] == pytest.approx(summary["teacher_size_bytes"] / summary["student_size_bytes"])
    assert summary["latency_ratio"] > 2
    assert summary["teacher_parameters"] > 20e6 > 1e6 > summary["student_parameters"]
    assert summary["shipped_size_ratio"] >= summary["size_ratio"] or summary["precision_chosen"] == "fp32"


def test_summary_names_samples_device_and_choice(summary) -> None:
    assert summary["samples"] > 100
    assert summary["threads"] == 1
    assert summary["device"]
    assert summary["shipped_model"] in summary["precision_reason"]
    assert summary["teacher_helps"] in (True, False)
    assert summary["seconds_cold"] > 1
    assert 1e8 < summary["stage_peak_bytes"]["distill"] <= summary["peak_bytes"]
    assert summary["stage_seconds"].keys() == summary["stage_peak_bytes"].keys() == {n for n in STAGES if n in summary["stage_seconds"]}


def test_every_precision_has_a_file_for_every_target(whole_run, summary) -> None:
    assert {Path(path).name for path in summary["exports"].values()} == FILES
    for path in summary["exports"].values():
        model = onnx.load(whole_run.runs / "small" / path)
        onnx.checker.check_model(model)
        assert [port.name for port in model.graph.input] == ["image", "text"]
        assert model.ir_version <= 10
    assert summary["student_size_bytes"] > (whole_run.runs / "small" / summary["exports"]["int8_qat"]).stat().st_size


def test_every_hop_passed_the_parity_gate(whole_run) -> None:
    hops = whole_run.result.artifacts["export"].details["parity"] + whole_run.result.artifacts["export_teacher"].details["parity"]
    litert = [hop for hop in hops if hop["to"] == "LiteRT fp32"]
    assert len(litert) == load_recipe(whole_run.recipe, []).recipe.export.mobile.count("litert")
    assert len(hops) == 1 + 2 + 2 * (1 + 3) + len(litert)  # teacher; fp32, fp16; for ptq and qat the graph as written and three targets
    assert all(hop["passed"] for hop in hops)
    assert all(hop["layers"] > 20 for hop in hops if "fp32" not in hop["to"])  # each layer was looked at by itself
    assert whole_run.result.parity_misses == []


def test_other_runtimes_answer_as_onnx_runtime_does_and_never_ship(whole_run, summary) -> None:
    runtimes = load_recipe(whole_run.recipe, []).recipe.benchmark.runtimes
    models = json.loads((whole_run.runs / "small" / "10-benchmark" / "measurements.json").read_text())["models"]
    variants = {name: m for name, m in models.items() if m["role"] == "variant"}
    assert list(variants) == [
        f"{name}@{runtime}" for runtime in runtimes for name in ("fp32", "int8_qat") if (name, runtime) != ("int8_qat", "litert")
    ]
    for name, model in variants.items():
        assert model["parity"]["of"] == name.split("@")[0]
        assert model["parity"]["agreement"] >= (0.99 if name.startswith("fp32") else 0.9)
        assert model["latency"]["1"]["median_ms"] > 0
        library = {"ort_format": "onnxruntime", "openvino": "openvino", "litert": "ai_edge_litert"}[name.split("@")[1]]
        assert model["runtime"].startswith(f"{library} ")
    assert summary["shipped_model"] not in variants
    page = (whole_run.runs / "small" / "11-report" / "report.html").read_text()
    assert "fp32@ort_format" in page


def test_measurements_are_as_their_schema_says(whole_run) -> None:
    found = json.loads((whole_run.runs / "small" / "10-benchmark" / "measurements.json").read_text())
    fastjsonschema.compile(json.loads(PUBLISHED.read_text()))(found)


def test_accuracy_and_calibration_are_what_scikit_learn_makes_of_the_predictions(whole_run) -> None:
    folder = whole_run.runs / "small"
    models = json.loads((folder / "10-benchmark" / "measurements.json").read_text())["models"]
    labels = np.load(folder / "1-data" / "test" / "labels.npy")
    with np.load(folder / "10-benchmark" / "predictions.npz") as stored:
        for name, model in models.items():
            own, answers, p = labels[stored["rows"]], stored[f"model_{name}"], stored[f"p_{name}"]
            assert model["accuracy"]["value"] == pytest.approx(accuracy_score(own, answers), abs=1e-12), name
            assert model["agreement"]["value"] == pytest.approx(accuracy_score(stored["model_teacher"], answers), abs=1e-12)
            assert model["metrics"]["macro_f1"]["value"] == pytest.approx(f1_score(own, answers, labels=np.unique(own), average="macro"))
            if name != "teacher":
                assert model["differs"]["value"] == np.sum(answers != stored["model_teacher"])
            if "labels" in model:
                bins = model["labels"]["calibration"]["bins"]
                assert p.mean() == pytest.approx(sum(b["confidence"] * b["samples"] for b in bins) / len(p), abs=1e-5)


def test_every_figure_of_the_first_table_is_that_of_the_measurements(whole_run, summary) -> None:
    """Cell by cell: accuracy with its interval, differences, size, parameters, times, ratios, memory."""
    measured = json.loads((whole_run.runs / "small" / "10-benchmark" / "measurements.json").read_text())
    page = (whole_run.runs / "small" / "11-report" / "report.html").read_text()
    rows = [[cell_text(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.S)] for row in re.findall(r"<tr.*?</tr>", page, re.S)]
    teacher = measured["models"]["teacher"]["size"]["value"]
    for name, model in measured["models"].items():
        (row,) = [row for row in rows if len(row) == 11 and row[0].split()[:1] == [name]]
        accuracy = model["accuracy"]
        assert row[1].split(" ") == [percent(accuracy["value"]), percent(accuracy["low"]), "–", percent(accuracy["high"])]
        for place, other in ((2, "against_teacher"), (3, "against_fp32")):
            paired = accuracy.get(other)
            expected = [f"{paired['difference']:+.2f}", f"{paired['low']:+.2f}", "–", f"{paired['high']:+.2f}"] if paired else ["–"]
            assert row[place].split(" ") == expected
        assert row[4:6] == [show_bytes(model["size"]["value"]), count(model["parameters"]["value"])]
        for place, batch in ((6, "1"), (7, "2")):
            timed = (model["latency"] or {}).get(batch)
            figures = [timed[key] for key in ("median_ms", "p95_ms", "low_ms", "high_ms")] if timed else []
            assert re.findall(r"[\d.,]+", row[place]) == [significant(figure) for figure in figures]
        assert row[8] == f"{significant(teacher / model['size']['value'])}×"
        over = ((model["latency"] or {}).get("1") or {}).get("teacher_over_this")
        assert re.findall(r"[\d.,]+", row[9]) == ([significant(over[key]) for key in ("value", "low", "high")] if over else [])
        assert row[10] == show_bytes((model["peak_memory"] or {}).get("value"))


def cell_text(cell: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", cell)).split())


def test_report_shows_where_teacher_and_student_differ(whole_run, summary) -> None:
    models = json.loads((whole_run.runs / "small" / "10-benchmark" / "measurements.json").read_text())["models"]
    page = (whole_run.runs / "small" / "11-report" / "report.html").read_text()
    text = (whole_run.runs / "small" / "11-report" / "report.md").read_text()
    said = differing_in_words(models[summary["shipped_model"]]["differs"], summary["shipped_model"])
    assert said in page and said in text
    section = page.split(">Where teacher and student differ</h2>")[1].split("<h2")[0]
    assert section.count("<figure") == min(12, models[summary["shipped_model"]]["differs"]["value"]) > 0
    assert re.search(r"<dt>teacher</dt><dd class=\"(right|wrong)\">[^<]+ <small>[\d.]+ %</small>", section)
    assert page.count("<td>made</td>") == len(whole_run.result.artifacts) - 2  # all but the report itself and the bundle behind it


def test_models_that_answered_the_same_rows_are_compared_in_pairs(whole_run, summary) -> None:
    models = json.loads((whole_run.runs / "small" / "10-benchmark" / "measurements.json").read_text())["models"]
    shipped = models[summary["shipped_model"]]["accuracy"]
    for paired, other in ((shipped["against_teacher"], models["teacher"]), (shipped.get("against_fp32"), models["fp32"])):
        if paired:
            assert paired["difference"] == pytest.approx(100 * (shipped["value"] - other["accuracy"]["value"]))
            assert 1 < paired["clusters"] < paired["samples"] == summary["samples"]  # images with several questions each
    assert summary["shipped_drop_low_points"] <= summary["shipped_drop_points"] <= summary["shipped_drop_high_points"]
    assert all("against_fp32" in m["validation"] for m in models.values() if m["role"] == "student" and m["precision"] != "fp32")
    said = next(line for line in whole_run.said if line.startswith("distill: validation"))
    assert said.endswith("the distilled student ships, which is not shown to be worse") or "which is shown to be better" in said
    assert said.removeprefix("distill: ") == summary["teacher_comparison"]


def test_mobile_files_are_in_the_bundle_or_the_report_says_why_not(whole_run, bundle: Path) -> None:
    details = whole_run.result.artifacts["export"].details
    ort = {entry["model"] for entry in details["mobile"] if entry["format"] == "ort_format"}
    skipped = {name.removeprefix("mobile/").removesuffix(".ort") for name in details["mobile_skipped"]}
    assert {*ort, *skipped} == {"fp32", "int8_qat-onnxruntime_arm"}
    assert "fp32" in ort
    listed = {name for name in verify_folder(bundle)["files"] if name.startswith("mobile/")}
    assert {"mobile/fp32.ort", "mobile/fp32.required_operators.config"} <= listed
    page = (whole_run.runs / "small" / "11-report" / "report.html").read_text()
    assert all(f"{name}, which is left out" in page for name in details["mobile_skipped"])


def test_bundle_answers_in_litert_with_its_own_file(bundle: Path) -> None:
    pytest.importorskip("litert_torch")
    command = [sys.executable, "run.py", "verify", "--runtime", "litert", "--json", "--model"]
    done = subprocess.run([*command, "fp32"], cwd=bundle, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["golden"]["fp32"]["max_difference"] < 1e-3
    done = subprocess.run([*command, "int8_qat"], cwd=bundle, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "error: this bundle holds no LiteRT file of 'int8_qat'; give --model fp32\n")


def test_report_is_one_file_that_loads_nothing(whole_run, summary) -> None:
    page = (whole_run.runs / "small" / "11-report" / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?\s*(?!#|data:)[^"'>\s]+""", page)
    assert not re.search(r"@import|url\(\s*[\"']?(?!#|data:)", page)
    assert f"{100 * summary['teacher_accuracy']:.2f}" in page


def test_bundle_verifies_by_hash_and_by_its_own_runner(bundle: Path, summary) -> None:
    manifest = verify_folder(bundle)
    assert {"model.onnx", "run.py", "tokenizer.json", "golden.npz", "model_card.md", "recipe.yaml", "examples/cpp/golden.cpp"} <= set(
        manifest["files"]
    )
    assert "onnxruntime_c_api.h" in (bundle / "model_card.md").read_text()  # what the example holds of others
    assert (bundle / "model.onnx").stat().st_size == summary["shipped_size_bytes"]
    done = subprocess.run([sys.executable, "run.py", "verify"], cwd=bundle, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_bundle_answers_a_question_about_a_test_image(bundle: Path) -> None:
    image = easy_vqa.get_test_image_paths()[0]
    arguments = ["run.py", "predict", "--image", image, "--question", "what color is the shape?"]
    done = subprocess.run([sys.executable, *arguments], cwd=bundle, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert any(label in done.stdout for label in json.loads((bundle / "labels.json").read_text()))


def test_budget_that_is_missed_ends_with_its_own_exit_code_after_the_report(own_run) -> None:
    (own_run.runs / "small" / "summary.json").unlink()
    arguments = ["run", own_run.recipe, "--runs", own_run.runs, "--threads", 1, "-o", "budget.max_size_mb=0.001"]
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == BUDGET_MISSED
    lines = done.stderr.splitlines()
    assert re.fullmatch(r"budget missed: budget\.max_size_mb: [0-9.]+, limit 0\.001, missed by [0-9.]+", lines[-1])
    assert "8-export" in done.stdout
    assert [line.split()[1] for line in done.stdout.splitlines() if re.match(r" *\d+-", line)] == ["reused"] * 11 + ["made"] * 2
    assert (own_run.runs / "small" / "11-report" / "report.html").is_file()
    assert (own_run.runs / "small" / "12-bundle" / "bundle" / "run.py").is_file()
    assert (own_run.runs / "small" / "summary.json").is_file()


def test_readme_python_answers(own_run, picture: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    """The README's lines, marked `run`, with the small recipe under the name that they give, and one thread, as it was run with."""
    lines = re.search(r"<!-- run -->\n```python\n(.*?)```", (Path(__file__).parents[1] / "README.md").read_text(), re.S)
    assert lines
    named = re.search(r'"(recipes/\w+\.yaml)"', lines[1])
    assert named
    (tmp_path / "recipes").mkdir()
    (tmp_path / named[1]).write_text(own_run.recipe.read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    exec(compile(lines[1], "README.md", "exec"), {})
    labels = json.loads((own_run.runs / "small" / "12-bundle" / "bundle" / "labels.json").read_text())
    answer = capsys.readouterr().out.splitlines()[-1]
    assert any(label in answer for label in labels)
