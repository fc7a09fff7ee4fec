"""The benchmark programs that bring other people's data: how a run ended, what it came to, and the files that it was given."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from compress.errors import DataError
from compress.recipe.grammar import load_recipe
from compress.tasks.task import task

ROOT = Path(__file__).parents[1]


def odd_result(seed: int, end: str, *, alone: float = 0.0, shipped: float = 0.0, p: float = 1.0, **changes: Any) -> dict[str, Any]:
    """A result as odd_sets.py writes it, as far as the table reads it; the commonest answer is right in half of the rows."""
    origin = {"device": {"name": "cpu", "cores": 2}, "threads": 1, "versions": {"torch": "2.13"}, "git_commit": "a" * 40, "git_clean": True}
    spent = {"seconds": 60.0 + seed, "cpu_seconds": 90.0, "silence_s": 7.0, "peak_bytes": 1_500_000_000}
    test = {"alone": {"value": alone}, "shipped": {"value": shipped}}
    found = (
        {"test": test, "majority": {"value": 50.0}, "against_alone": {"difference": shipped - alone, "p": p}} if end == "bundle" else None
    )
    about = {"inputs": ["text"], "rows": 60, "classes": 2}
    return {
        **origin,
        "seed": seed,
        "set": about,
        "end": end,
        "run": spent,
        "seconds": {"data": 1.0},
        "found": found,
        "tail": ["last"],
        **changes,
    }


def test_odd_sets_table_counts_ends_and_what_ships_below_the_student_alone(program: Any) -> None:
    results = [
        odd_result(0, "bundle", alone=80.0, shipped=85.0),
        odd_result(1, "bundle", alone=80.0, shipped=60.0, p=0.01),  # worse at 0.05 alone
        odd_result(2, "bundle", alone=60.0, shipped=50.0, p=0.3),  # no better than the commonest answer, which the student alone beats
        odd_result(3, "bundle", alone=45.0, shipped=40.0),  # nor does the student alone
        odd_result(4, "line"),
        odd_result(5, "failed"),
    ]
    lines = program("odd_sets").table(results).splitlines()
    assert lines[2].split(" | ")[1:] == ["6", "4", "1", "1", "0", "1", "0", "2 of 3", "62, 63", "90", "7", "1.5 |"]
    assert [line.split(":")[0] for line in lines[5:8]] == ["- seed 1", "- seed 2", "- seed 5"]
    assert lines[7] == "- seed 5: ended in an error, after data: last"


@pytest.mark.parametrize(
    ("changes", "made", "end"),
    [
        ({"exit_code": 0}, ("data", "teacher", "bundle"), "bundle"),
        ({"exit_code": 3}, ("data", "teacher", "bundle"), "bundle"),  # a missed budget
        ({"exit_code": 4, "lines": ["data: 9 rows", "error: train.csv: no label"]}, (), "line"),
        ({"exit_code": 4, "lines": ["error: one", "error: two"]}, (), "failed"),
        ({"exit_code": 1, "lines": ["Traceback (most recent call last):", "ValueError: x"]}, (), "failed"),
        ({"exit_code": 1, "lines": ["error: too late"]}, ("data", "teacher"), "failed"),
        ({"exit_code": -9, "timed_out": True}, ("data",), "time-out"),
        ({"exit_code": -15}, ("data",), "stopped"),
        ({"exit_code": -9}, ("data",), "failed"),  # by the kernel, where memory ran out
    ],
)
def test_odd_sets_tell_ends_apart(program: Any, changes: dict[str, Any], made: tuple[str, ...], end: str) -> None:
    ended = program("trial").Ended(**{"lines": [], **changes})
    assert program("odd_sets").ending(ended, dict.fromkeys(made)) == end


def test_odd_sets_go_on_with_seeds_that_have_no_result(program: Any, tmp_path: Path, capsys: Any) -> None:
    odd_sets = program("odd_sets")
    assert odd_sets.seed_list("0-2,7") == [0, 1, 2, 7]
    (tmp_path / "0.json").write_text("kept")
    odd_sets.work_through([0, 1], tmp_path, jobs=1, minutes=0.0)
    assert (tmp_path / "0.json").read_text() == "kept"
    assert capsys.readouterr().err.startswith("not begun: 1;")


def test_trial_hears_both_outputs_of_a_process_and_how_it_ended(program: Any) -> None:
    code = "import sys; print('a', flush=True); print('b', file=sys.stderr); sys.exit(3)"
    ended = program("trial").call([sys.executable, "-c", code], limit=60.0)
    assert (ended.exit_code, ended.lines, ended.timed_out) == (3, ["a", "b"], False)
    assert 0 < ended.silence <= ended.seconds
    assert 1e6 < ended.peak_bytes < 1e12  # an interpreter's few megabytes, or what pytest had when it started it


def test_trial_ends_a_process_and_its_children_at_the_limit(program: Any) -> None:
    endless = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    ended = program("trial").call([sys.executable, "-c", endless], limit=0.3)
    assert (ended.exit_code, ended.timed_out) == (-9, True)
    assert ended.seconds < 60


def test_trial_judges_a_run_as_its_own_report_does(program: Any, whole_run: Any) -> None:
    summary, found = whole_run.result.summary, program("trial").judge(whole_run.result.artifacts, threads=1)
    test = {arm: share["value"] / 100 for arm, share in found["test"].items()}
    arm = found["shipped"]["arm"]
    assert [test["teacher"], test["shipped"], test[arm]] == pytest.approx(
        [summary[f"{who}_accuracy"] for who in ("teacher", "shipped", "student")]
    )
    paired = found["against_alone"]
    assert paired["difference"] == pytest.approx(100 * (test["shipped"] - test["alone"]))
    assert paired["clusters"] is None  # so p is the exact one
    assert set(test) == {"teacher", "alone", "distilled", "shipped"}


def test_real_arms_change_the_recipe(program: Any) -> None:
    plain = load_recipe(ROOT / "recipes" / "smoke.yaml", []).recipe
    for name, overrides in program("real").ARMS.items():
        assert overrides or name == "as written"
        for override in overrides:
            place, _, value = override.partition("=")
            part: Any = load_recipe(ROOT / "recipes" / "smoke.yaml", [override]).recipe
            for word in place.split("."):
                part = getattr(part, word)
            assert json.dumps(part).strip('"') == value, name
    assert plain.distill.balance


def test_real_fruit_is_parted_as_its_file_says(program: Any, tmp_path: Path) -> None:
    cells = {"dataset": ["train", "test", "val", "train"], "image_data": [b"a", b"b", b"c", b"d"], "finegrained_cat": ["x", "x", "y", "y"]}
    pq.write_table(pa.table({**cells, "coarse_cat": ["z"] * 4}), tmp_path / "all.parquet")
    files = program("real").fruit([tmp_path / "all.parquet"], tmp_path)
    assert list(files) == ["train", "validation", "test"]
    assert pq.read_table(files["train"]).to_pydict() == {"image": [b"a", b"d"], "label": ["x", "y"]}


def test_real_easy_vqa_keeps_the_answers_of_a_twentieth_of_the_images(program: Any, tmp_path: Path) -> None:
    train, test = (pq.read_table(program("real").easy_vqa(0.05)([], tmp_path)[split]).to_pylist() for split in ("train", "test"))
    assert len({row["image"] for row in train}) == 4000
    assert len(labelled := {row["image"] for row in train if row["label"] is not None}) == 200
    assert all((row["label"] is not None) == (row["image"] in labelled) for row in train)
    assert all(row["label"] is not None for row in test)


def test_real_set_without_its_files_says_what_to_give(program: Any, tmp_path: Path) -> None:
    given_files = program("trial").given_files
    assert given_files("easy_vqa_5", 0, {}) == []
    with pytest.raises(DataError, match="--cifar10: give 2 file"):
        given_files("cifar10", 2, {})
    with pytest.raises(DataError, match="no such file"):
        given_files("fruit", 1, {"fruit": [tmp_path / "no.parquet"]})


def test_results_that_are_there_are_not_made_again(program: Any, tmp_path: Path, capsys: Any) -> None:
    made = []

    def make(name: str) -> dict[str, Any]:
        made.append(name)
        return {"name": name}

    for names in (("a",), ("a", "b")):
        program("trial").make_missing(tmp_path, ((name, lambda name=name: make(name)) for name in names), lambda result: result["name"] * 2)
    assert made == ["a", "b"] and json.loads((tmp_path / "b.json").read_text()) == {"name": "b"}
    assert capsys.readouterr().err.splitlines() == ["a: aa", "b: bb"]


def test_tasks_recipes_are_there_with_the_metrics_of_their_table(program: Any) -> None:
    for name, asked in program("tasks").RECIPES.items():
        recipe = yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text())["data"]
        assert set(asked.data) <= set(recipe.get("options", {}))
        own = [metric for metric in asked.metrics if not metric.startswith("among_the_teacher")]
        assert set(own) <= set(task(recipe["task"], options=recipe.get("task_options")).metrics)


def test_tasks_table_has_a_line_a_metric(program: Any) -> None:
    values = {
        arm: {"pairs_told_right": share, "equal_error_rate": 1 - share}
        for arm, share in zip(("teacher", "alone", "distilled", "shipped"), (0.9, 0.7, 0.8, 0.8))
    }
    shipped = {"shipped": {"size_bytes": 2000}, "shipped_latency_ms": 0.5, "latency_ratio": 40.0, "teacher_size_bytes": 8000}
    result = {"recipe": "speakers", "seed": 0, "overrides": [], "found": {"samples": 10, "arms": values, **shipped}}
    origin = {"device": {"name": "x", "cores": 2}, "threads": 1, "versions": {"torch": "2"}, "git_commit": "a", "git_clean": True}
    lines = program("tasks").table([{**result, **origin}]).splitlines()
    assert lines[2].endswith("| pairs told right | 10 | 0 | 90.00 | 70.00 | 80.00 | +10.00 | 80.00 | 2 | 4x | 0.50 | 40x |")
    assert lines[3].startswith("|  | equal error rate | 10 | 0 | 10.00 | 30.00 | 20.00 | -10.00 | 20.00 |")
