"""The benchmark programs: what they compute from results, what they hand to peers, and that published tables are current."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from compress.errors import RecipeError
from compress.recipe.grammar import load_recipe

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"


def student_result(seed: int, alone: float, distilled: float, **changes: Any) -> dict[str, Any]:
    """A result as students.py writes it, as far as the table reads it."""
    arms = {"teacher": 92.0, "alone": alone, "distilled": distilled, "int8_ptq": distilled - 1, "int8_qat": distilled - 0.5}
    accuracy = {arm: {"value": value} for arm, value in arms.items()}
    origin = {"device": {"name": "cpu", "cores": 2}, "threads": 1, "versions": {"torch": "2.13"}, "git_commit": "a" * 40, "git_clean": True}
    result = {"setting": "cifar10", "seed": seed, "accuracy": accuracy, "samples": 10_000, "parameters": {"student": 98_954}}
    return {**origin, **result, "steps": {"distilled": 70, "alone": 70}, "seconds": {"distilled": 60.0, "alone": 50.0}, **changes}


def test_spread_is_mean_and_sample_deviation(program: Any) -> None:
    record = program("record")
    assert record.mean_and_deviation([1.0, 2.0, 3.0]) == (2.0, 1.0)  # sqrt((1 + 0 + 1) / 2)
    assert record.spread([1.0, 2.0, 3.0], signed=True) == "+2.00 ± 1.00"
    assert record.spread([-1.0]) == "-1.00"


def test_students_table_pairs_gains_by_seed(program: Any) -> None:
    results = [student_result(1, 86.0, 89.0), student_result(0, 84.0, 86.0)]  # gains by seed: 0 -> 2, 1 -> 3
    row = program("students").table(results).splitlines()[2]
    assert "| +2.50 ± 0.71 | +2.00, +3.00 |" in row  # deviation sqrt(0.25 + 0.25)
    assert "| 85.00 ± 1.41 | 87.50 ± 2.12 |" in row
    assert "| 86.50 ± 2.12 | 87.00 ± 2.12 |" in row  # int8


def test_students_table_has_answers_to_other_words_where_there_are_any(program: Any) -> None:
    results = [student_result(seed, 84.0, 86.0) for seed in (0, 1)]
    assert "| - |" in program("students").table(results).splitlines()[2]
    for result, value in zip(results, (80.0, 90.0), strict=True):
        result["reworded"] = {"teacher": {"value": 96.0}, "alone": {"value": 50.0}, "distilled": {"value": value}}
    assert "| 96.00 ± 0.00, 50.00 ± 0.00, 85.00 ± 7.07 |" in program("students").table(results).splitlines()[2]


def test_students_table_shows_unequal_steps(program: Any) -> None:
    row = program("students").table([student_result(0, 84.0, 86.0, steps={"distilled": 70, "alone": 60})]).splitlines()[2]
    assert "| 60, 70 |" in row


def test_students_tables_say_what_has_changed_since(program: Any) -> None:
    results = [student_result(0, 84.0, 86.0, superseded="the rate is lower"), student_result(1, 84.0, 86.0)]
    assert all(text.endswith(" Since then the rate is lower.") for text in program("students").tables(results).values())
    assert "Since then" not in program("students").table(results[1:])


@pytest.mark.parametrize("setting", ["easy_vqa_100", "easy_vqa_5", "cifar10"])
def test_settings_load_with_a_seed_of_training_alone(program: Any, setting: str) -> None:
    students = program("students")
    assert sorted(students.SETTINGS) == ["cifar10", "easy_vqa_100", "easy_vqa_5"]
    first, second = (needs_files(lambda seed=seed: students.load_setting(setting, seed).recipe) for seed in (0, 1))
    changed = {key for key, value in first if value != dict(second)[key]}
    assert changed == {"name", "seed"}
    assert first.distill.compare_alone
    assert first.data.labelled_fraction == (0.05 if setting == "easy_vqa_5" else 1.0)


def test_cifar10_student_has_at_most_100_k_parameters() -> None:
    from ports import io_spec

    from compress.models.saved import count_parameters
    from compress.models.student import student
    from compress.stages.distill.start import student_options

    recipe = needs_files(lambda: load_recipe(BENCHMARKS / "recipes" / "cifar10.yaml").recipe)
    io = io_spec(image_size=recipe.data.inputs.image.size, classes=10)
    assert count_parameters(student(io, **student_options(recipe, ROOT))) <= 100_000


def test_pruning_keeps_the_channels_with_the_largest_scale(program: Any) -> None:
    import torch

    from compress.io_spec import Port
    from compress.models.vision import UniversalBottleneck, mobilenet_v4

    pruning, port = program("pruning"), Port("image", "uint8", (64, 64, 3), 0, 255)
    wide, narrow = (mobilenet_v4(port, width=0.5, out=16, expand=expand).eval() for expand in (2.0, 1.0))
    with torch.no_grad():
        for block in [m for m in wide.modules() if isinstance(m, UniversalBottleneck)]:
            norm = block.body[-2].norm  # of the inner channels, behind the last layer that has them
            dead = torch.randperm(len(norm.weight))[: len(norm.weight) // 2]
            norm.weight[dead], norm.bias[dead] = 0.0, 0.0
    pruning.prune_into(narrow, wide)
    image = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8)
    torch.testing.assert_close(narrow(image), wide(image), atol=1e-5, rtol=1e-4)
    assert pruning.count_parameters(narrow) < 0.7 * pruning.count_parameters(wide)


def test_loss_candidates_are_losses_of_the_grammar(program: Any) -> None:
    losses, recipe = program("losses"), ROOT / "recipes" / "smoke.yaml"
    for name, terms in losses.CANDIDATES.items():
        loaded = load_recipe(recipe, ["distill.compare_alone=false", *losses.overrides_of(name)]).recipe
        assert [loss.name for loss in loaded.distill.losses] == [term["name"] for term in terms], name
    assert len({losses.slug(name) for name in losses.CANDIDATES}) == len(losses.CANDIDATES)


def test_loss_candidates_are_ranked_by_mean_accuracy(program: Any) -> None:
    results = [
        {"candidate": name, "accuracy": {"value": value}, "seed": seed, "seconds": 10.0}
        for name, seed, value in (("kd T=2", 0, 80.0), ("kd T=2", 1, 84.0), ("dist", 0, 83.0))
    ]
    assert program("losses").candidate_rows(results) == [["dist", "83.00", "0", "10"], ["kd T=2", "82.00 ± 2.83", "0, 1", "10"]]


def test_qat_candidates_are_recipes(program: Any) -> None:
    for name, overrides in program("qat").CANDIDATES.items():
        changed = load_recipe(ROOT / "recipes" / "smoke.yaml", list(overrides)).recipe
        assert (changed.quantize == load_recipe(ROOT / "recipes" / "smoke.yaml", []).recipe.quantize) == (not overrides), name


def test_qat_table_is_ranked_by_what_is_lost_and_holds_calibration_once(program: Any) -> None:
    origin = {"device": {"name": "cpu", "cores": 2}, "threads": 1, "versions": {"torch": "2.13"}, "git_commit": "a" * 40, "git_clean": True}
    results = [
        {
            **{**origin, "setting": "cifar10", "candidate": name, "seed": seed, "steps": 7, "samples": 5000, "seconds": 20.0},
            "validation": {"fp32": 80.0, "int8_ptq": 78.0, "int8_qat": value},
        }
        for name, seed, value in (("as the recipe", 0, 79.0), ("as the recipe", 1, 79.5), ("both teach", 0, 79.8))
    ]
    rows = [line for line in program("qat").table(results).splitlines() if line.startswith("| ")][2:]
    assert rows == [
        "| both teach | +0.20 | +0.20 | 20 |",
        "| as the recipe | +0.75 ± 0.35 | +1.00, +0.50 | 20 |",
        "| calibrated only (PTQ) | +2.00 ± 0.00 | +2.00, +2.00 | 0 |",
    ]


def test_edge_table_holds_figures_or_the_reason_that_there_are_none(program: Any) -> None:
    origin = {"device": {"name": "cpu", "cores": 2}, "threads": 1, "git_commit": "a" * 40, "git_clean": True}
    versions = {"executorch": "1.5", "onnxruntime": "1.31"}
    measured = {
        **{**origin, "versions": versions, "size": {"value": 1_500_000}, "max_difference": {"value": 3.4e-7}},
        "latency": {"executorch": {"median_ms": 0.1}, "onnxruntime": {"median_ms": 0.2}},
        "over_onnxruntime": {"value": 0.5, "low": 0.49, "high": 0.51},
    }
    failed = {**origin, "versions": versions, "failed": "ValueError: no kernel"}
    rows = program("edge").table([measured, failed]).splitlines()[2:4]
    assert rows == [
        "| executorch 1.5 | 1500 | 3.4e-07 | 0.100 | 0.50 (0.49 to 0.51) |",
        "| executorch 1.5: ValueError: no kernel | - | - | - | - |",
    ]


def test_backbones_counterpart_is_nearest_in_parameters(program: Any) -> None:
    backbones = program("backbones")
    models = backbones.candidates()
    for size in backbones.OURS:
        ours, other = (backbones.count_parameters(models[f"{name} {size}"][2]) for name in ("mobilenet_v4", "MobileNetV2"))
        assert abs(other - ours) < 0.05 * ours


def test_backbones_counterpart_keeps_running_statistics(program: Any) -> None:
    from torch import nn

    norms = [m for m in program("backbones").MobileNetV2(0.1).modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert {norm.momentum for norm in norms} == {0.05}


def test_tuned_nodes_leave_everything_else_in_float(program: Any) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Add", ["a", "b"], ["c"], name="residual"),
        helper.make_node("Add", ["c", "w"], ["d"], name="add of a constant"),
        helper.make_node("Softmax", ["d"], ["e"], name="softmax"),
        helper.make_node("Relu", ["e"], ["f"], name="relu of a float"),
        helper.make_node("MatMul", ["f", "w"], ["g"], name="linear"),
        helper.make_node("MatMul", ["g", "f"], ["h"], name="attention"),
    ]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    model = onnx.helper.make_model(helper.make_graph(nodes, "g", [], [], [weight]))
    assert program("peers").tuned_nodes(model) == ["conv", "relu", "residual", "linear"]


def test_peer_without_an_environment_says_what_to_install(program: Any, tmp_path: Path) -> None:
    quantization = program("quantization")
    versions, reason = quantization.run_peer(tmp_path / "bin" / "python", "nncf", tmp_path / "job.json")
    assert versions == {}
    assert reason == f"{tmp_path}/bin/python is no Python"
    assert program("peers").missing(("numpy", "no-such-distribution")) == ["no-such-distribution"]


def test_tables_replace_what_stands_between_their_markers_in_every_document(program: Any, tmp_path: Path) -> None:
    record, page, other, without = program("record"), tmp_path / "page.md", tmp_path / "other.md", tmp_path / "without.md"
    page.write_text("before\n<!-- students:begin -->\nold\n<!-- students:end -->\nafter\n")
    other.write_text("<!-- students:begin -->\n<!-- students:end -->\n<!-- qat:begin -->\n<!-- qat:end -->\n")
    without.write_text("nothing\n")
    record.publish_tables({"students": "new", "qat": "also"}, [page, other, without])
    assert page.read_text() == "before\n<!-- students:begin -->\nnew\n<!-- students:end -->\nafter\n"
    assert [record.held_table(other.read_text(), name) for name in ("students", "qat")] == ["new", "also"]
    assert without.read_text() == "nothing\n"
    with pytest.raises(SystemExit, match="no document has the markers <!-- quantization:begin -->"):
        record.publish_tables({"quantization": "new"}, [page])


def test_fusion_table_pairs_gains_by_seed_and_shows_the_best_first(program: Any) -> None:
    fusion, origin = program("fusion"), student_result(0, 0.0, 0.0)
    found = {("product", 0): 90.0, ("product", 1): 92.0, ("sum", 0): 91.0, ("sum", 1): 95.0}  # gains 1 and 3
    results = [
        {
            **origin,
            "fusion": name,
            "seed": seed,
            "accuracy": {"value": value, "samples": 500},
            "parameters": 1000,
            "steps": 9,
            "rows": 80,
        }
        for (name, seed), value in found.items()
    ]
    assert fusion.table(results).splitlines()[4:6] == [
        "| sum | 93.00 ± 2.83 | +2.00 ± 1.41 | 0, 1 | 1,000 |",
        "| product | 91.00 ± 1.41 | - | 0, 1 | 1,000 |",
    ]


@pytest.mark.parametrize(
    ("choice", "columns"),
    [("pairings", "| 30.0 | 37.6 | 45.2 | +7.6 (+5.0 to +10.2) | 0.0001 |"), ("whole", "| 37.6 | 45.2 | +7.6 (+5.0 to +10.2) | 0.0001 |")],
)
def test_choices_table_has_a_line_a_set_by_its_rows_and_the_student_alone_once_or_twice(program: Any, choice: str, columns: str) -> None:
    paired = {"difference": 7.6, "low": 5.0, "high": 10.2, "p": 0.0001, "samples": 884}
    shares = {
        "teacher": 46.9,
        "distilled": 45.2,
        "distilled_without": 37.6,
        "alone": 30.0,
        **({"alone_without": 28.0} if choice == "whole" else {}),
    }
    test = {model: {"value": value, "samples": 884} for model, value in shares.items()}
    against = {"distilled": paired, **({"alone": paired} if choice == "whole" else {})}
    results = [
        {**student_result(0, 0.0, 0.0), "rows": rows, "change": choice, "test": test, "against_without": against} for rows in (1_300, 130)
    ]
    alone = " 28.0 | 30.0 | +7.6 (+5.0 to +10.2) | 0.0001 |" if choice == "whole" else ""
    lines = program("choices").tables(results)[choice].splitlines()[2:4]
    assert lines == [f"| {rows} | 884 | 46.9 {columns}{alone}" for rows in ("130", "1,300")]


def test_fusions_are_measured_on_a_recipe_that_loads(program: Any) -> None:
    fusion, students = program("fusion"), program("students")
    recipe = students.load_setting(fusion.SETTING, 0, [*fusion.SMALL, "student.fusion=gated"]).recipe
    assert (recipe.student.fusion.name, recipe.data.inputs.get("image").size) == ("gated", 32)


def test_tables_are_printed_or_published_only_when_asked_for(program: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    record, published = program("record"), []
    monkeypatch.setattr(record, "publish_tables", published.append)
    parser = argparse.ArgumentParser()
    record.add_table_arguments(parser)
    asked = [record.show_tables(parser.parse_args(words), lambda: {"a": "x", "b": "y"}) for words in ([], ["--table"], ["--publish"])]
    assert asked == [False, True, True]
    assert capsys.readouterr().out == "x\n\ny\n"
    assert published == [{"a": "x", "b": "y"}]


@pytest.mark.parametrize(
    "name",
    [
        "students",
        "quantization",
        "qat",
        "losses",
        "fusion",
        "choices",
        "pruning",
        "edge",
        "backbones",
        "lstm",
        "ranks",
        "odd_sets",
        "real",
        "modalities",
        "predictor",
        "decisions",
        "gate",
        "big_teachers",
        "tasks",
        "distillation",
        "loop",
    ],
)
def test_published_tables_are_current(program: Any, name: str) -> None:
    record, results = program("record"), BENCHMARKS / "results"
    if not any((results / name).glob("*.json")) and not (results / f"{name}.json").is_file():
        pytest.skip(f"benchmarks/results/{name} is not there: nothing was measured yet")
    measured = record.read_results(results / name) if (results / name).is_dir() else [json.loads((results / f"{name}.json").read_text())]
    for mark, table in program(name).tables(measured).items():
        held = {path.name: found for path in record.DOCUMENTS if (found := record.held_table(path.read_text(), mark)) is not None}
        assert held, f"no document has the markers {mark}"
        assert set(held.values()) == {table}, f"{mark}, {', '.join(held)}: run: python benchmarks/{name}.py --publish"


def test_students_summary_has_a_line_for_questions_in_other_words(program: Any) -> None:
    result = student_result(0, 84.0, 86.0)
    result["reworded"] = {"teacher": {"value": 96.0}, "alone": {"value": 50.0}, "distilled": {"value": 80.0}}
    assert program("students").summary([result]).splitlines()[2:4] == [
        "| CIFAR-10 | 92.00 | 84.00 | 86.00 | +2.00 | 85.50 |",
        "| CIFAR-10, in other words | 96.00 | 50.00 | 80.00 | +30.00 | - |",
    ]


def test_student_results_belong_to_the_recipes(program: Any) -> None:
    """A recipe that changed since makes its figures those of another recipe: run benchmarks/students.py again, or let `superseded` say so."""
    students, results = program("students"), program("record").read_results(BENCHMARKS / "results" / "students")
    results = [result for result in results if "superseded" not in result]
    if not results:
        pytest.skip("benchmarks/results/students has no result of today's recipes")
    for result in results:
        assert not result["overrides"], f"{result['setting']} {result['seed']} was run with {result['overrides']}"
        recipe = needs_files(lambda result=result: students.load_setting(result["setting"], result["seed"]).recipe)
        for part, config in result["config"].items():
            own = getattr(recipe, part)
            assert type(own).model_validate(config) == own, f"{result['setting']} {result['seed']}: {part}"


def needs_files(load: Any) -> Any:
    """What `load` gives; a skip where the checkout has no data sets and weights beside it."""
    try:
        return load()
    except RecipeError as error:
        if not (ROOT / ".." / "shared" / "data").is_dir():
            pytest.skip(f"no shared/data beside the checkout: {error.problems[0]}")
        raise
