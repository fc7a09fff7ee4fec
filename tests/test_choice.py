"""Which file ships, on made-up measurements."""

from compress.choice import choose_precision
from compress.recipe import Budget


def model(
    role="student", precision="fp32", *, ms=0.3, ratio=(1.0, 1.0, 1.0), right=990, size=1_000_000, target=None, timed=True, non_finite=0
):
    entry = {"median_ms": ms, "p95_ms": 1.2 * ms, "this_over_fp32": dict(zip(("value", "low", "high"), ratio, strict=True))}
    return {
        "role": role,
        "precision": precision,
        "target": target,
        "accuracy": {"value": right / 1000, "samples": 1000},
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
    assert "0.66x fp32's time (0.64 to 0.68)" in choice.reason and "0.35x its size" in choice.reason and "-0.10 points" in choice.reason


def test_slower_int8_loses_to_fp32_although_it_is_smaller():
    choice = choose(measured(qat=model(precision="int8_qat", ms=0.4, ratio=(1.33, 1.3, 1.36), size=350_000)))
    assert choice.name == "student"
    assert "qat takes 1.33x fp32's time (1.30 to 1.36)" in choice.reason


def test_inaccurate_int8_loses_however_fast():
    choice = choose(measured(ptq=model(precision="int8_ptq", ms=0.1, ratio=(0.3, 0.3, 0.3), right=900)))
    assert choice.name == "student" and "ptq loses 9.00 points to fp32 (0.5 allowed)" in choice.reason


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
    fast = model(precision="int8_qat", ratio=(0.5, 0.5, 0.5), right=990) | {"validation": {"value": 0.95, "samples": 400}}
    measurements = measured(qat=fast)
    measurements["models"]["student"]["validation"] = {"value": 0.99, "samples": 400}
    choice = choose(measurements)
    assert choice.name == "student" and "qat loses 4.00 points" in choice.reason


def test_files_that_lose_too_much_are_refused_for_every_target():
    bad = model(precision="int8_qat", target="tensorrt", right=900)
    good = model(precision="int8_qat", target="onnxruntime_arm", right=990)
    assert choose(measured(bad=bad, good=good)).refused == ("bad",)
