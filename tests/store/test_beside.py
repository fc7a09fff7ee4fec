"""A stage in a process of its own: what it will be called, that it is waited for once, and that its failure is the run's."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from compress import context
from compress.errors import CompressError, ParityError, RecipeError
from compress.pipeline import plan
from compress.recipe.grammar import LoadedRecipe, load_recipe
from compress.store.artifacts import Artifact, fingerprint
from compress.store.beside import Beside

RECIPE = """\
name: rows
data: {source: easy_vqa, inputs: {image: {size: 16}, text: {length: 8}}, train_limit: 20, test_limit: 8}
teacher: {source: fit, encoders: {image: {model: efficientnet_lite2}, text: {model: minilm_l6}}}
student: {encoders: {image: {}, text: {options: {width: 16, heads: 1}}}}
"""
MADE_OF = {"stage": "export_teacher", "version": 1}
ENDLESS = "import signal; signal.pause()"


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedRecipe:
    """A recipe whose data stage takes a moment."""
    (tmp_path / "rows.yaml").write_text(RECIPE)
    return load_recipe(tmp_path / "rows.yaml", ["data.test_limit=6"])


@pytest.fixture
def make(loaded: LoadedRecipe, tmp_path: Path):
    """`Beside` whose processes run this code in place of a stage."""

    def made(code: str) -> Beside:
        beside = Beside(loaded, runs=tmp_path / "runs", threads=1)
        beside.command = [sys.executable, "-c", code]
        return beside

    return made


def test_artifact_to_come_is_waited_for_once(make, tmp_path: Path) -> None:
    with make(f"import sys; open({str(tmp_path / 'ran')!r}, 'w').write(' '.join(sys.argv[1:]))") as beside:
        coming = beside.start("export_teacher", MADE_OF)
        assert coming == Artifact(fingerprint=fingerprint(MADE_OF))
        assert beside.wait(Artifact(fingerprint="of another stage")) is None
        assert beside.wait(coming) == "export_teacher"
        assert (tmp_path / "ran").read_text() == "--threads 1 --stage export_teacher"
        assert beside.wait(coming) is None


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("print('a warning', file=sys.stderr); fail(7)", ParityError, "parity: far apart"),
        ("fail(1)", CompressError, "parity: far apart"),
        ("fail(70)", CompressError, "parity: far apart"),  # a code that is none of ours
        ("sys.exit(7)", ParityError, "its process ended with 7"),
        ("os.kill(os.getpid(), 9)", CompressError, "its process ended with -9"),  # such as for want of memory
        ("raise ValueError('lost')", CompressError, "ValueError: lost"),
    ],
)
def test_failure_of_the_process_is_raised_with_its_kind_and_last_line(make, code: str, kind: type[CompressError], message: str) -> None:
    fail = "def fail(code):\n    print('error: parity: far apart', file=sys.stderr); sys.exit(code)\n"
    with make(f"import os, sys\n{fail}{code}") as beside:
        coming = beside.start("export_teacher", MADE_OF)
        with pytest.raises(CompressError) as caught:
            beside.wait(coming)
    assert type(caught.value) is kind
    assert str(caught.value) == f"export_teacher: {message}"


def test_waiting_is_not_silent(make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "SILENT_S", 0)
    said: list[str] = []
    with make(ENDLESS) as beside:
        coming = beside.start("export_teacher", MADE_OF)
        _, process, _ = beside.running[coming.fingerprint]

        def say(line: str) -> None:
            said.append(line)
            process.terminate()

        with pytest.raises(CompressError, match="ended with -15"):
            beside.wait(coming, say)
    assert said[0].startswith("export_teacher: at work for ")


def test_failure_is_raised_by_a_check_as_soon_as_it_is_there_and_a_process_at_work_is_left_alone(make) -> None:
    with make(ENDLESS) as beside:
        beside.start("export_teacher", MADE_OF)
        beside.check()
        beside.command = [sys.executable, "-c", "import sys; sys.exit('error: parity: far apart')"]
        beside.start("features", {**MADE_OF, "version": 2})
        beside.running[fingerprint({**MADE_OF, "version": 2})][1].wait()
        with pytest.raises(CompressError, match="^features: parity: far apart$"):
            beside.check()
        assert [name for name, *_ in beside.running.values()] == ["export_teacher"]


def test_process_that_nothing_waits_for_ends_with_the_run(make) -> None:
    with pytest.raises(KeyboardInterrupt), make(ENDLESS) as beside:
        beside.start("export_teacher", MADE_OF)
        _, process, _ = beside.running[fingerprint(MADE_OF)]
        assert process.poll() is None
        raise KeyboardInterrupt
    assert process.returncode == -signal.SIGTERM


def test_command_makes_the_stage_of_this_recipe_in_this_store(loaded: LoadedRecipe, tmp_path: Path) -> None:
    with Beside(loaded, runs=tmp_path / "runs", threads=1) as beside:
        assert beside.wait(beside.start("data", MADE_OF)) == "data"
    planned = {stage.name: stage.action for stage in plan(loaded, runs=tmp_path / "runs", threads=1)}
    assert planned["data"] == "reuse" and planned["features"] == "run"


def test_error_of_the_command_is_the_error_of_the_run(loaded: LoadedRecipe, tmp_path: Path) -> None:
    loaded.path.write_text(RECIPE.replace("test_limit", "test_limits"))  # after it was read
    with Beside(loaded, runs=tmp_path / "runs", threads=1) as beside:
        coming = beside.start("data", MADE_OF)
        with pytest.raises(RecipeError, match=r"^data: .*test_limits"):
            beside.wait(coming)


@pytest.mark.parametrize(
    ("stage", "threads", "device", "shared", "may"),
    [
        ("alone", 2, "cpu", False, True),
        ("alone", 1, "cpu", False, False),
        ("alone", 8, "cuda:0", False, False),
        ("alone", 8, "cpu", True, False),
        ("export_teacher", 1, "cuda:0", True, True),
        ("targets", 8, "cpu", False, False),
    ],
)
def test_training_is_beside_where_it_has_processors_of_its_own(
    loaded: LoadedRecipe, tmp_path: Path, stage: str, threads: int, device: str, shared: bool, may: bool
) -> None:
    assert Beside(loaded, runs=tmp_path, threads=threads, device=device).may(stage, shared=shared) is may


def test_training_beside_has_half_of_the_threads_until_it_is_waited_for(loaded: LoadedRecipe, tmp_path: Path) -> None:
    with Beside(loaded, runs=tmp_path / "runs", threads=5) as beside:
        beside.command = [sys.executable, "-c", f"import sys; open({str(tmp_path / 'ran')!r}, 'w').write(' '.join(sys.argv[1:]))"]
        beside.wait(beside.start("export_teacher", MADE_OF))
        assert (tmp_path / "ran").read_text() == "--threads 5 --stage export_teacher"
        coming = beside.start("alone", MADE_OF)
        assert beside.lent() == 2
        beside.wait(coming)
        assert beside.lent() == 0
        assert (tmp_path / "ran").read_text() == "--threads 2 --stage alone"


def test_process_ends_when_the_run_that_started_it_is_gone() -> None:
    code = "from compress.store.beside import Beside; Beside.end_with_parent(); print('at work', flush=True); import time; time.sleep(300)"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == b"at work\n"
        assert process.poll() is None
        process.stdin.close()  # as the system does for a process that was killed
        assert process.wait(timeout=60) == 1
