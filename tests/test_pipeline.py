"""The run as a look-up: what is planned, reused and made again, and what a failing disk, stage or second process leaves behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from compress import tables
from compress.cli import app
from compress.errors import CompressError, DataError, DependencyError, StoreError
from compress.pipeline import STAGES, plan, run
from compress.recipe.grammar import load_recipe
from compress.store import keys
from compress.store.artifacts import DataArtifact
from compress.store.ingredients import only
from compress.store.store import RunFolder

ROOT = Path(__file__).resolve().parents[1]
DATA_ONLY = """\
name: rows
data: {source: easy_vqa, inputs: {image: {size: 16}, text: {length: 8}}, train_limit: 20, test_limit: 8}
teacher: {source: fit, encoders: {image: {model: efficientnet_lite2}, text: {model: minilm_l6}}}
student: {encoders: {image: {}, text: {options: {width: 16, heads: 1}}}}
"""

OF_ONE_TEACHER = [name for name in STAGES if name not in ("ensemble", "truth")]  # that judges by labels


def silent(line: str) -> None:
    pass


def plan_of(whole, *overrides: str) -> dict[str, tuple[str, str]]:
    """stage -> (action, reason)."""
    return {s.name: (s.action, s.reason) for s in plan(load_recipe(whole.recipe, list(overrides)), runs=whole.runs, threads=1)}


def actions(whole, *overrides: str, **settings) -> dict[str, str]:
    """stage -> "made" or "reused", as a run says it."""
    said: list[str] = []
    run(load_recipe(whole.recipe, list(overrides)), runs=whole.runs, threads=1, say=said.append, **settings)
    return {match[1]: match[2] for line in said if (match := re.match(r" *\d+-(\w+) +(made|reused) ", line))}


def snapshot(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every file and link: inode, size, time of the last change."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_dir() or path.is_symlink():
            state = path.lstat()
            found[path.relative_to(folder).as_posix()] = (state.st_ino, state.st_size, state.st_mtime_ns)
    return found


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A recipe of which only the first stage is run here: it takes a moment."""
    (tmp_path / "rows.yaml").write_text(DATA_ONLY)
    return tmp_path / "rows.yaml"


def run_rows(rows: Path, runs: Path, *overrides: str, **settings):
    return run(load_recipe(rows, list(overrides)), runs=runs, threads=1, last="data", **{"say": silent, **settings})


def test_stages_are_those_that_the_commands_know() -> None:
    assert STAGES is tables.STAGES


def test_every_stage_reads_places_that_a_recipe_has(whole_run) -> None:
    recipe = load_recipe(whole_run.recipe, []).recipe
    for name, stage in STAGES.items():
        part = only(recipe, stage.reads)
        for place in stage.reads:
            given, true = part, recipe
            for word in place.split("."):
                given, true = getattr(given, word), getattr(true, word)
            assert given == true, name


def test_only_refuses_what_is_not_declared(whole_run) -> None:
    part = only(load_recipe(whole_run.recipe, []).recipe, ("data", "teacher.encoders", "distill.losses"))
    assert part.data.inputs.get("image").size == 32
    for place in ("seed", "student", "teacher.head_width", "distill.train"):
        with pytest.raises(AttributeError):
            eval(f"part.{place}")


def test_plan_of_an_empty_store_says_never_made(rows: Path) -> None:
    planned = plan(load_recipe(rows, []), runs=rows.parent / "runs", threads=1)
    assert {(stage.action, stage.reason) for stage in planned} == {("run", "never made")}
    assert [stage.index for stage in planned if stage.name in ("data", "bundle")] == [1, 12]
    assert not (rows.parent / "runs").exists()


def test_plan_of_a_finished_run_says_reuse(whole_run) -> None:
    planned = plan_of(whole_run)
    assert list(planned) == OF_ONE_TEACHER
    assert {action for action, _ in planned.values()} == {"reuse"}
    assert re.fullmatch(r"made \S+ in [0-9.]+ s, [0-9.]+ GB", planned["distill"][1])


@pytest.mark.parametrize(
    ("override", "first", "reason"),
    [
        ("distill.losses[1].weight=3", "distill", "config distill.losses[1].weight: 1.0 -> 3.0"),
        ("student.dropout=0.2", "alone", "config student.dropout: 0.1 -> 0.2"),
        ("quantize.observer=histogram", "quantize", 'config quantize.observer: "moving_average" -> "histogram"'),
        ("export.opset=19", "export_teacher", "config export.opset: 20 -> 19"),
        ("benchmark.rounds=11", "benchmark", "config benchmark.rounds: 10 -> 11"),
        ("budget.max_size_mb=2", "report", "config budget.max_size_mb: null -> 2.0"),
        ("data.inputs.image.size=48", "data", "config data.inputs.image.size: 32 -> 48"),
        ("seed=1", "teacher", "seed: 0 -> 1"),
    ],
)
def test_plan_names_the_key_that_changed_and_reuses_what_lies_before(whole_run, override: str, first: str, reason: str) -> None:
    planned = plan_of(whole_run, override)
    before = OF_ONE_TEACHER[: OF_ONE_TEACHER.index(first)]
    assert {planned[name][0] for name in before} <= {"reuse"}
    assert planned[first] == ("run", reason)
    assert planned["bundle"][0] == "run"


def test_plan_of_a_later_stage_names_its_parent(whole_run) -> None:
    assert plan_of(whole_run, "distill.losses[1].weight=3")["export"] == ("run", "parent distill changed; parent quantize changed")


def test_student_of_another_seed_shares_data_and_features(whole_run) -> None:
    planned = plan_of(whole_run, "seed=7")
    assert [name for name, (action, _) in planned.items() if action == "reuse"] == ["data", "features"]


def test_unchanged_second_run_does_no_work(own_run) -> None:
    store = own_run.runs / ".store"
    before = snapshot(store)
    made = actions(own_run)
    assert set(made.values()) == {"reused"}
    assert list(made) == OF_ONE_TEACHER
    assert {name: state for name, state in snapshot(store).items() if not name.startswith("locks/")} == {
        name: state for name, state in before.items() if not name.startswith("locks/")
    }


def test_from_makes_a_stage_and_the_later_ones_again(own_run) -> None:
    made = actions(own_run, first="report")
    assert [name for name, verb in made.items() if verb == "made"] == ["report", "bundle"]


def test_until_stops_after_a_stage(rows: Path) -> None:
    result = run_rows(rows, rows.parent / "runs")
    assert list(result.artifacts) == ["data"]
    assert result.summary == {}
    assert set(RunFolder(rows.parent / "runs" / "rows").links()) == {"data"}


def test_stage_without_engine_and_quantization_is_left_out(own_run) -> None:
    planned = plan_of(own_run, "engine=null", "quantize=null")
    assert "engine" not in planned
    assert "quantize" not in planned
    assert planned["distill"][0] == "reuse"


def test_corrupted_file_in_the_store_is_found_and_made_again(own_run) -> None:
    page = own_run.runs / "small" / "11-report" / "report.html"
    content = bytearray(page.read_bytes())
    content[100] ^= 1
    page.unlink()
    page.write_bytes(content)  # of the same size
    said: list[str] = []
    run(load_recipe(own_run.recipe, []), runs=own_run.runs, threads=1, say=said.append)
    assert [line.split()[0] for line in said if " made " in line and line.lstrip()[0].isdigit()] == ["11-report"]
    assert any("report.html: sha256" in line and "The damaged report was moved to" in line for line in said)
    assert (own_run.runs / "small" / "11-report" / "report.html").read_bytes() != bytes(content)


def test_second_run_in_the_same_folder_is_refused(rows: Path) -> None:
    folder = RunFolder(rows.parent / "runs" / "rows")
    with folder.hold():
        command = [sys.executable, "-m", "compress", "run", str(rows), "--until", "data", "--runs", str(rows.parent / "runs")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == StoreError.exit_code
    assert re.fullmatch(rf"error: run folder \S+/runs/rows is in use by process {os.getpid()} on .*\n", done.stderr)


def test_stage_that_raises_publishes_nothing(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(config, *, source, ctx):
        (ctx.out / "half.npy").write_bytes(b"half")
        raise DataError("train.csv:3: no such image")

    monkeypatch.setattr("compress.making.resolve", lambda entry: break_down)
    runs = rows.parent / "runs"
    with pytest.raises(DataError, match="no such image"):
        run_rows(rows, runs)
    assert not (runs / ".store" / "data").exists()
    assert not RunFolder(runs / "rows").links()
    monkeypatch.undo()
    assert list(run_rows(rows, runs).artifacts["data"].files) != []
    assert not list((runs / ".store").rglob("half.npy"))


def test_stage_reads_nothing_that_it_did_not_declare(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def peek(config, *, source, ctx):
        return DataArtifact(details={"rate": config.distill.train.learning_rate})

    monkeypatch.setattr("compress.making.resolve", lambda entry: peek)
    with pytest.raises(AttributeError, match="distill"):
        run_rows(rows, rows.parent / "runs")


@contextmanager
def mounted(folder: Path, *, read_only: bool = False, size: str = "") -> Iterator[Path]:
    """A tmpfs of that size at `folder`, or a read-only view of it; skips where mounting is not permitted."""
    folder.mkdir(exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={size}", "none", str(folder)] if size else ["--bind", str(folder), str(folder)]
    done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    try:
        if read_only:
            subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fail_on_disk(rows: Path, runs: Path) -> str:
    """The one line on stderr of a run that the disk stops."""
    arguments = ["run", str(rows), "--until", "data", "--runs", str(runs), "--threads", "1"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == StoreError.exit_code, done.output
    (line,) = done.stderr.splitlines()
    return line


def test_read_only_folder_ends_with_one_line(rows: Path) -> None:
    with mounted(rows.parent / "disk", read_only=True) as disk:
        assert re.match(r"error: \S+: the file system is read-only .*choose another output folder\.", fail_on_disk(rows, disk / "runs"))


def test_run_that_becomes_read_only_ends_with_one_line(rows: Path) -> None:
    (rows.parent / "disk").mkdir()
    run_rows(rows, rows.parent / "disk" / "runs")
    with mounted(rows.parent / "disk", read_only=True) as disk:
        assert "the file system is read-only" in fail_on_disk(rows, disk / "runs")


@pytest.mark.parametrize("size", ["16k", "64k"])
def test_full_disk_ends_with_one_line_and_publishes_nothing(rows: Path, size: str) -> None:
    with mounted(rows.parent / "disk", size=size) as disk:
        assert re.search(r"the disk is full \(0\.\d MB free; .*Make room", fail_on_disk(rows, disk / "runs"))
        assert not list((disk / "runs" / ".store").glob("data/*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission_ends_with_one_line(rows: Path) -> None:
    runs = rows.parent / "runs"
    runs.mkdir(mode=0o500)
    assert re.match(r"error: \S+: permission denied ", fail_on_disk(rows, runs))


def test_plugin_content_is_part_of_what_a_stage_is_made_of(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "load_plugins", lambda paths: None)  # else the loss would stay in this process's tables
    plugin = rows.parent / "plugin.py"
    plugin.write_text("def flat(student, teacher, labels):\n    return student.sum() * 0\n\n\nLOSSES = {'flat_loss_of_a_test': flat}\n")
    rows.write_text(DATA_ONLY + "plugins: [plugin.py]\n")
    runs = rows.parent / "runs"
    run_rows(rows, runs)
    assert plan(load_recipe(rows, []), runs=runs, threads=1)[0].action == "reuse"
    plugin.write_text(plugin.read_text() + "# changed\n")
    first = plan(load_recipe(rows, []), runs=runs, threads=1)[0]
    assert first.action == "run"
    assert first.reason.startswith("plugins.plugin.py")


def test_unknown_encoder_licence_is_said_to_be_unknown(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from compress.recipe import packages
    from compress.store.ingredients import licences

    monkeypatch.delitem(packages.WEIGHTS, "minilm_l6")
    found = licences(load_recipe(rows, []))
    assert found[-1] == {"name": "minilm_l6", "use": "teacher's encoder", "licence": "not recorded", "source": "minilm_l6"}


def test_rows_of_the_store_are_memory_mapped(rows: Path) -> None:
    from compress.making import opened

    data = opened(run_rows(rows, rows.parent / "runs").artifacts["data"])
    assert isinstance(data.split("train").inputs["image"], np.memmap)
    with pytest.raises(CompressError, match="no split 'dev'"):
        data.split("dev")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("benchmark: {runtimes: [openvino]}", "benchmark.runtimes: 'openvino' is not installed; 'pip install openvino' (extra: openvino)"),
        ("export: {mobile: [litert]}", "export.mobile: 'litert-torch' is not installed; 'pip install litert-torch' (extra: litert)"),
    ],
)
def test_extra_that_is_not_installed_is_an_error_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, words: str
) -> None:
    (tmp_path / "r.yaml").write_text(f"{DATA_ONLY}{asked}\n")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=re.escape(words)):
        run(load_recipe(tmp_path / "r.yaml"), runs=tmp_path / "runs", say=silent)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("changed", ["distill.train.trackers=[]", "quantize.train.checkpoint_seconds=5", "teacher.train.trackers=[]"])
def test_how_a_training_is_followed_is_no_reason_to_train_again(whole_run, changed: str) -> None:
    assert {action for action, _ in plan_of(whole_run, changed).values()} == {"reuse"}
