"""Which file ships, on made-up measurements."""

import numpy as np
import pytest

from compress.measures.paired import compare_paired
from compress.recipe.sections import Budget
from compress.reporting.choice import choose_precision


def model(
    role="student",
    precision="fp32",
    *,
    ms=0.3,
    ratio=(1.0, 1.0, 1.0),
    right=990,
    rows=1000,
    won=0,
    size=1_000_000,
    target=None,
    timed=True,
    non_finite=0,
):
    """A file with `right` answers in `rows`; the fp32 student has 99 % and lacks the `won` rows that this one has."""
    base = int(0.99 * rows)
    lost = base - right + won
    answers = np.zeros((2, rows), bool)
    answers[0, :won] = answers[1, won : won + lost] = answers[:, won + lost : won + base] = True
    accuracy = {"value": right / rows, "samples": rows}
    if role == "student" and precision != "fp32":
        accuracy["against_fp32"] = compare_paired(*answers).to_json()
    entry = {"median_ms": ms, "p95_ms": 1.2 * ms, "teacher_over_this": {"value": 6.6 / ms}}
    entry["this_over_fp32"] = dict(zip(("value", "low", "high"), ratio, strict=True))
    return {
        "role": role,
        "precision": precision,
        "target": target,
        "accuracy": accuracy,
        "size": {"value": size},
        "non_finite": {"value": non_finite},
        "latency": {"1": entry} if timed else None,
    }


def measured(**students):
    teacher = model("teacher", ms=6.6, right=995, size=100_000_000)
    return {"target": "onnxruntime_x86", "models": {"teacher": teacher, "student": model(), **students}}


def choose(measurements, **options):
    return choose_precision(measurements, **{"target": "onnxruntime_x86", **options})


def test_fast_and_accurate_int8_ships():
    choice = choose(measured(qat=model(precision="int8_qat", ms=0.2, ratio=(0.66, 0.64, 0.68), right=989, size=350_000)))
    assert (choice.name, choice.precision, choice.measured) == ("qat", "int8_qat", True)
    assert "0.66x fp32's time (0.64 to 0.68)" in choice.reason and "0.35x its size" in choice.reason
    assert "-0.10 points (-0.73 to +0.46) on 1,000 test samples" in choice.reason


def test_slower_int8_loses_to_fp32_although_it_is_smaller():
    choice = choose(measured(qat=model(precision="int8_qat", ms=0.4, ratio=(1.33, 1.3, 1.36), size=350_000)))
    assert choice.name == "student"
    assert "qat takes 1.33x fp32's time (1.30 to 1.36)" in choice.reason


def test_inaccurate_int8_loses_however_fast():
    choice = choose(measured(ptq=model(precision="int8_ptq", ms=0.1, ratio=(0.3, 0.3, 0.3), right=900)))
    assert choice.name == "student"
    assert "ptq loses 9.00 points to fp32 (7.29 to 11.04; 90 lost and 0 won of 1,000 rows, p < 0.001), 0.5 allowed" in choice.reason
    assert choice.refused == ("ptq",)


@pytest.mark.parametrize(
    ("rows", "lost", "won", "refused"),
    [
        (50, 1, 0, False),  # 2 points: one unlucky row
        (50, 5, 1, False),
        (50, 8, 0, True),
        (400, 4, 1, False),  # 0.75 points
        (400, 12, 2, True),
        (4000, 40, 18, True),  # 0.55 points, which so many rows show
        (4000, 30, 11, False),  # shown, and within the limit
        (4000, 100, 78, False),  # 0.55 points by estimate, among much churn: not shown
    ],
)
def test_loss_is_refused_where_it_is_larger_than_the_limit_and_shown(rows, lost, won, refused):
    fast = model(precision="int8_qat", ratio=(0.5, 0.5, 0.5), right=int(0.99 * rows) + won - lost, rows=rows, won=won)
    choice = choose(measured(qat=fast))
    paired = fast["accuracy"]["against_fp32"]
    assert (paired["b_only"], paired["a_only"]) == (lost, won)
    assert (choice.name, choice.refused) == (("student", ("qat",)) if refused else ("qat", ()))


def test_larger_loss_that_is_not_shown_is_said_with_its_interval():
    choice = choose(measured(qat=model(precision="int8_qat", ratio=(0.5, 0.5, 0.5), right=48, rows=50)))
    assert "though it may lose more than the 0.5 points allowed: 2.00 points to fp32 (-" in choice.reason
    assert "1 lost and 0 won of 50 rows, p 1), which is not shown" in choice.reason


def test_drop_of_exactly_the_limit_is_allowed():
    assert choose(measured(ptq=model(precision="int8_ptq", ratio=(0.5, 0.5, 0.5), right=985))).name == "ptq"


def test_tie_within_noise_goes_to_the_smaller_file():
    assert choose(measured(qat=model(precision="int8_qat", ratio=(1.01, 0.97, 1.05), size=350_000))).name == "qat"


def test_tie_within_noise_does_not_go_to_a_larger_file():
    assert choose(measured(fp16=model(precision="fp16", ratio=(0.99, 0.96, 1.02), size=1_200_000))).name == "student"


def test_tie_of_equally_small_files_goes_to_the_more_accurate():
    qat = model(precision="int8_qat", ratio=(0.66, 0.64, 0.68), right=990, size=351_000)
    ptq = model(precision="int8_ptq", ratio=(0.65, 0.63, 0.67), right=987, size=350_000)
    assert choose(measured(ptq=ptq, qat=qat)).name == "qat"


@pytest.mark.parametrize(("trained", "ships"), [(982, "qat"), (972, "ptq")])
def test_tie_goes_to_the_trained_file_unless_the_other_is_better_by_a_standard_error(trained, ships):
    qat = model(precision="int8_qat", ratio=(0.66, 0.64, 0.68), right=trained, size=350_000, won=10)  # a standard error of half a point
    ptq = model(precision="int8_ptq", ratio=(0.65, 0.63, 0.67), right=985, size=350_000)
    assert choose(measured(ptq=ptq, qat=qat), max_drop_points=5).name == ships


def test_faster_file_outside_the_budget_loses():
    fast = model(precision="int8_dynamic", ratio=(0.5, 0.5, 0.5), size=2_000_000)
    choice = choose(measured(dynamic=fast), budget=Budget(max_size_mb=1.5))
    assert choice.name == "student" and "budget.max_size_mb: 2, limit 1.5" in choice.verdicts["dynamic"]


def test_budget_that_nothing_meets_is_left_out_and_said():
    choice = choose(measured(qat=model(precision="int8_qat", ms=0.2, ratio=(0.66, 0.6, 0.7))), budget=Budget(min_latency_ratio=100))
    assert choice.name == "qat" and "no file is inside the budget (budget.min_latency_ratio: 33, limit 100" in choice.reason


def test_target_of_another_machine_is_not_decided_here():
    arm = model(precision="int8_qat", target="onnxruntime_arm", timed=False)
    choice = choose(measured(arm=arm), target="onnxruntime_arm")
    assert (choice.name, choice.measured) == ("student", False) and "onnxruntime_arm was not measured here" in choice.reason


def test_file_of_another_target_is_no_candidate():
    other = model(precision="int8_qat", target="tensorrt", ratio=(0.1, 0.1, 0.1))
    assert choose(measured(other=other)).name == "student"


def test_file_that_overflows_is_refused():
    choice = choose(measured(fp16=model(precision="fp16", ratio=(0.5, 0.5, 0.5), non_finite=3)))
    assert choice.name == "student" and "not finite on 3 samples" in choice.verdicts["fp16"]


def test_validation_decides_where_it_was_scored_and_not_the_test_split():
    worse = model(precision="int8_qat", right=380, rows=400)["accuracy"]  # 16 rows lost
    fast = model(precision="int8_qat", ratio=(0.5, 0.5, 0.5), right=990) | {"validation": worse}
    measurements = measured(qat=fast)
    measurements["models"]["student"]["validation"] = {"value": 0.99, "samples": 400}
    choice = choose(measurements)
    assert choice.name == "student" and "qat loses 4.00 points" in choice.reason


def test_files_that_lose_too_much_are_refused_for_every_target():
    bad = model(precision="int8_qat", target="tensorrt", right=900)
    good = model(precision="int8_qat", target="onnxruntime_arm", right=990)
    assert choose(measured(bad=bad, good=good)).refused == ("bad",)


def test_float_student_ships_where_no_file_was_timed_at_batch_1():
    untimed = measured(student=model(timed=False), qat=model(precision="int8_qat", timed=False))
    choice = choose(untimed)
    assert (choice.name, choice.precision, choice.measured) == ("student", "fp32", False)
    assert choice.reason == ("student, for no file could be compared: student has no latency at batch 1; qat has no latency at batch 1")
