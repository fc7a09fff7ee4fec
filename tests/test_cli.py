"""The command line: exit codes, what goes to stdout and stderr, and what is not imported."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from finished import write_run
from typer.testing import CliRunner

from compress.cli import app, main
from compress.errors import BUDGET_MISSED, StoreError

RECIPE = Path(__file__).parent.parent / "recipes" / "mobile_vqa.yaml"
HEAVY = {"torch", "transformers", "onnx", "onnxruntime", "pyarrow", "numpy", "rich", "datasets", "tensorrt_rtx"}


def call(*arguments: str):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands in for compress.pipeline, which trains for minutes."""
    module = SimpleNamespace(
        calls=[], result=SimpleNamespace(summary={"student_accuracy": 0.99}, budget_misses=[], parity_misses=[], folder=Path("runs/a"))
    )

    def run(loaded, *, say, **settings):
        module.calls.append({"name": loaded.recipe.name, "seed": loaded.recipe.seed, **settings})
        say("1-data reuse")
        return module.result

    module.run = run
    module.plan = lambda loaded, **settings: [SimpleNamespace(index=1, name="data", action="run", reason="never made", fingerprint="ab")]
    monkeypatch.setitem(sys.modules, "compress.pipeline", module)
    return module


@pytest.mark.parametrize(
    "arguments", [["--help"], ["check", str(RECIPE)], ["list", "losses"], ["run", "--help"], ["schema"]], ids=lambda arguments: arguments[0]
)
def test_light_commands_import_nothing_heavy(arguments):
    script = f"""
import sys
from compress.cli import app, main
try:
    app({arguments!r})
except SystemExit as end:
    assert not end.code, end.code
print("HEAVY", *sorted({HEAVY!r} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=RECIPE.parent.parent)
    assert done.stdout.splitlines()[-1] == "HEAVY"


def test_threads_that_wait_do_not_spin_unless_they_are_asked_to(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("compress.cli.app", lambda: None)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    main()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    main()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "compress", "--help"], capture_output=True, text=True, check=True, cwd=RECIPE.parent.parent
    )
    assert "check" in done.stdout


def test_check_accepts_a_good_recipe_and_lists_every_fault_of_a_bad_one(tmp_path: Path):
    assert call("check", RECIPE).exit_code == 0
    bad = tmp_path / "bad.yaml"
    bad.write_text(RECIPE.read_text().replace("seed: 0", "sed: 0").replace("{size: 64}", "{size: big}"))
    result = call("check", bad)
    lines = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(lines) == 2
    assert all(line.startswith(f"error: {bad}:") for line in lines)


def test_check_takes_overrides():
    assert call("check", RECIPE, "-o", "seed=3", "-o", "distill.train.epochs=1").exit_code == 0
    result = call("check", RECIPE, "-o", "seed=x")
    assert (result.exit_code, result.stderr) == (2, "error: -o seed=x: must be a whole number, found the text 'x'\n")


def test_a_wrong_option_is_a_usage_error():
    result = call("run", RECIPE, "--frmo", "data")
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr


def test_plan_prints_a_line_a_stage(pipeline):
    assert call("plan", RECIPE).stdout == " 1-data           run    never made\n"


def test_run_passes_its_options_on(pipeline):
    words = ("--from", "distill", "--until", "export", "--threads", "2", "--device", "cpu", "--runs", "elsewhere", "-o", "seed=7")
    result = call("run", RECIPE, *words)
    assert result.exit_code == 0
    assert pipeline.calls == [
        {
            "name": "mobile_vqa",
            "seed": 7,
            "runs": Path("elsewhere"),
            "threads": 2,
            "device": "cpu",
            "store": None,
            "first": "distill",
            "last": "export",
            "tell": None,
        }
    ]


def test_run_with_json_prints_only_the_summary_on_stdout(pipeline):
    result = call("run", RECIPE, "--json")
    assert json.loads(result.stdout) == {"student_accuracy": 0.99}
    assert result.stderr == "1-data reuse\n"


def test_a_missed_budget_has_its_own_exit_code_and_a_line_each(pipeline):
    pipeline.result.budget_misses = ["max_size_mb: 3.0 MB, allowed 2.0", "max_latency_ms: 2 ms, allowed 1"]
    result = call("run", RECIPE, "--json")
    assert result.exit_code == BUDGET_MISSED
    assert result.stderr.splitlines()[1:] == [
        "budget missed: max_size_mb: 3.0 MB, allowed 2.0",
        "budget missed: max_latency_ms: 2 ms, allowed 1",
    ]
    assert json.loads(result.stdout.splitlines()[-1]) == {"student_accuracy": 0.99}


def test_a_budget_in_a_file_of_its_own_is_checked_beside_the_recipes(pipeline, tmp_path):
    hits = {"teacher": [True] * 90 + [False] * 10, "fp32": [True] * 80 + [False] * 20, "int8_qat": [True] * 80 + [False] * 20}
    pipeline.result.summary = json.loads((write_run(tmp_path / "run", right=hits) / "summary.json").read_text())
    (tmp_path / "ci.yaml").write_text("max_size_mb: 0.4\nmax_median_ms: 0.1\nmax_memory_mb: 100\n")
    result = call("run", RECIPE, "--budget", tmp_path / "ci.yaml", "--junit", tmp_path / "ci.xml")
    assert result.exit_code == BUDGET_MISSED
    assert result.stderr.splitlines()[-3:] == [
        "budget missed: budget.max_drop_points: 10, limit 1, missed by 9 (95 % interval 4.17 to 18.6, beyond chance)",  # of the recipe
        "budget missed: budget.max_median_ms: 0.4, limit 0.1, missed by 0.3",
        "budget missed: budget.max_size_mb: 0.5, limit 0.4, missed by 0.1",
    ]
    assert '<testsuite name="ci.yaml" tests="3" failures="2"' in (tmp_path / "ci.xml").read_text()


def test_a_budget_that_cannot_be_read_or_checked_is_refused_before_anything_runs(pipeline, tmp_path):
    (tmp_path / "ci.yaml").write_text("max_size: 4\n")
    for arguments in (["--budget", tmp_path / "ci.yaml"], ["--junit", tmp_path / "ci.xml", "--until", "data"]):
        assert call("run", RECIPE, *arguments).exit_code == 2
    assert pipeline.calls == []


def test_show_and_compare_print_runs_and_write_a_page(tmp_path):
    hits = {"teacher": [True] * 90 + [False] * 10, "fp32": [True] * 80 + [False] * 20, "int8_qat": [True] * 80 + [False] * 20}
    for name in ("a", "b"):
        write_run(tmp_path / name, right=hits)
    shown = call("show", "a", "--runs", tmp_path)
    assert shown.exit_code == 0 and "**int8_qat** ships: 80.00 % accuracy" in shown.stdout
    compared = call("compare", "a", "b", "--runs", tmp_path)
    assert compared.exit_code == 0 and "| shipped |" in compared.stdout
    assert (tmp_path / "compare.html").is_file()
    alone = call("compare", "a", "--runs", tmp_path)
    assert alone.exit_code == 1 and "give two or more runs" in alone.stderr


def test_an_unknown_stage_is_refused_before_anything_runs(pipeline):
    result = call("run", RECIPE, "--until", "distil")
    assert result.exit_code == 2
    assert "--until distil: unknown stage (did you mean 'distill'?)" in result.stderr
    assert not pipeline.calls


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (StoreError("runs/a: another run holds it"), 6, "error: runs/a: another run holds it"),
        (KeyboardInterrupt(), 130, "interrupted; run the same command again to go on"),
    ],
)
def test_an_error_ends_with_its_exit_code_and_no_traceback(pipeline, monkeypatch, error, code, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(pipeline, "run", fail)
    result = call("run", RECIPE)
    assert result.exit_code == code
    assert result.stderr.splitlines()[-1] == message


def test_schema_prints_json():
    assert "teacher" in json.loads(call("schema").stdout)["properties"]


def test_init_writes_once(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    assert call("init", file).exit_code == 0
    assert call("init", file).exit_code == 1
    assert call("init", file, "--force").exit_code == 0


def write_rows(folder: Path, header: str = "utterance,class") -> dict[str, Path]:
    """train.csv and test.csv of 40 and 12 questions with one of two answers each."""
    files = {split: folder / f"{split}.csv" for split in ("train", "test")}
    for split, count in (("train", 40), ("test", 12)):
        files[split].write_text(
            header + "\n" + "".join(f"is {split} {i} an even number?,{'yes' if i % 2 else 'no'}\n" for i in range(count))
        )
    return files


def test_init_writes_a_recipe_for_the_files_that_passes_the_check(tmp_path: Path):
    files, recipe = write_rows(tmp_path), tmp_path / "mine.yaml"
    result = call("init", recipe, "--train", files["train"], "--test", files["test"], "--name", "even")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0] == "reads utterance as text, class as label"
    assert "name: even\n" in recipe.read_text()
    assert call("check", recipe).exit_code == 0


def test_init_takes_the_columns_that_it_is_told(tmp_path: Path):
    files = write_rows(tmp_path)
    result = call("init", tmp_path / "a.yaml", "--train", files["train"], "--test", files["test"], "--label", "answer")
    assert result.exit_code == 4
    assert result.stderr.splitlines() == [
        "error: --label answer: there is no such column; --label COLUMN says which it is. The columns are:",
        '  "utterance": words, 40 different in 40 rows, such as "is train 0 an even number?"',
        '  "class": words, 2 different in 40 rows, such as "no"',
    ]
    assert not (tmp_path / "a.yaml").exists()


def test_init_needs_both_files(tmp_path: Path):
    result = call("init", tmp_path / "a.yaml", "--train", write_rows(tmp_path)["train"])
    assert (result.exit_code, result.stderr) == (
        1,
        "error: init looks at both the training and the test rows: give --train FILE and --test FILE\n",
    )


def test_doctor_ends_well_where_the_tests_run():
    result = call("doctor")
    assert result.exit_code == 0
    assert "onnxruntime" in result.stdout


def test_show_prints_a_summary_and_names_a_run_that_is_not_there(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "summary.json").write_text('{"samples": 5}')
    assert call("show", "a", "--summary", "--runs", tmp_path).stdout == "samples  5\n"
    assert call("show", "b", "--runs", tmp_path).exit_code == 1


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle whose runner prints its arguments and ends with code 4."""
    from compress.device.manifest import write_manifest

    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "run.py").write_text("import sys; open(sys.argv[0] + '.args', 'w').write(' '.join(sys.argv[1:])); sys.exit(4)")
    write_manifest(folder, extra={})
    return folder


def test_explain_hands_over_to_the_runner_of_the_bundle(bundle: Path):
    assert call("explain", bundle, "--question", "what shape?").exit_code == 4
    assert (bundle / "run.py.args").read_text() == "explain --question what shape?"


def test_predict_hands_over_to_the_runner_of_the_bundle(bundle: Path):
    assert call("predict", bundle, "--image", "x.png", "--question", "what shape?").exit_code == 4
    assert (bundle / "run.py.args").read_text() == "predict --image x.png --question what shape?"


def test_verify_starts_the_runner_only_when_every_file_is_as_listed(bundle: Path):
    (bundle / "run.py").write_text((bundle / "run.py").read_text().replace("(4)", "(0)"))
    result = call("verify", bundle)
    assert result.exit_code == 9
    assert "run.py" in result.stderr
    assert not (bundle / "run.py.args").exists()


def test_verify_ends_as_the_runner_does(bundle: Path):
    assert call("verify", bundle).exit_code == 4
    assert (bundle / "run.py.args").read_text() == "verify"


def test_serve_is_not_opened_to_others_without_a_token(bundle: Path, tmp_path: Path):
    result = call("serve", bundle, "--host", "0.0.0.0")
    assert result.exit_code == 1 and "give --token-file" in result.stderr
    (tmp_path / "token").write_text("short")
    result = call("serve", bundle, "--token-file", tmp_path / "token")
    assert result.exit_code == 1 and "at least 16 letters" in result.stderr and "short" not in result.stderr


def test_an_empty_store_is_listed_and_cleared(tmp_path: Path):
    assert call("store", "ls", "--runs", tmp_path).stdout == ""
    assert call("store", "gc", "--runs", tmp_path, "--dry-run").stdout == "would remove 0 entries, 0.0 MB\n"
