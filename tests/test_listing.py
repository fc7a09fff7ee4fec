"""`compress list` and `compress show`, and how runs and bundles are found."""

import json
from pathlib import Path

import pytest

from compress.errors import CompressError
from compress.listing import find_bundle, find_run, lines_of, summary_lines
from compress.tables import LOSSES, STAGES


def test_losses_are_listed_by_kind_with_one_line_each():
    lines = list(lines_of("losses"))
    kinds = [line.split(":")[0] for line in lines if not line.startswith(" ")][:-1]
    assert kinds == list(dict.fromkeys(entry.split(":")[0].split(".")[-1] for entry in LOSSES.values()))
    assert {"logits", "features", "relations"} <= set(kinds)
    assert sorted(line.split()[0] for line in lines if line.startswith(" ")) == sorted(LOSSES)
    assert "T^2 * mean_R" in next(line for line in lines if line.split()[0] == "kd")


def test_card_of_a_loss_has_all_that_it_says_and_its_options():
    lines = list(lines_of("losses", "hint"))
    assert lines[0].startswith("hint  The teacher's own numbers: mean over rows and channels of (project(s) - t)^2")
    assert any("arXiv 1412.6550" in line for line in lines)
    assert lines[-1] == "    tap: str = 'embedding'"  # and no projection, which the program gives


@pytest.mark.parametrize(
    ("what", "name", "words"), [("losses", "hin", "did you mean 'hint'"), ("stages", "distill", "list stages distill: unknown")]
)
def test_card_of_a_name_that_is_not_there(what: str, name: str, words: str):
    with pytest.raises(CompressError, match=words):
        list(lines_of(what, name))


def test_options_of_data_sets_leave_out_what_the_program_gives():
    lines = list(lines_of("datasets"))
    assert "    train: str | list[str], required" in lines
    assert not any(line.strip().startswith("base:") for line in lines)


def test_stages_are_listed_in_order():
    lines = list(lines_of("stages"))
    assert [line.split()[0] for line in lines] == list(STAGES)
    assert all(len(line.split()) > 1 for line in lines if line.split()[0] in ("data", "teacher", "distill"))


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("text_encoders", "minilm_l6"),
        ("models", "cifar_resnet"),
        ("quantizers", "int8_qat"),
        ("runtimes", "onnxruntime_cpu"),
        ("recipes", "recipes/"),
    ],
)
def test_every_kind_can_be_listed(what, name, monkeypatch):
    monkeypatch.chdir(Path(__file__).parent.parent)
    assert any(line.startswith(name) for line in lines_of(what))


def test_an_unknown_kind_names_the_nearest():
    with pytest.raises(CompressError, match="did you mean 'losses'"):
        lines_of("loses")


def test_a_run_is_found_by_name_and_by_folder(tmp_path: Path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "summary.json").write_text("{}")
    assert find_run("one", runs=tmp_path) == find_run(str(tmp_path / "one"), runs=Path("elsewhere")) == tmp_path / "one"
    with pytest.raises(CompressError, match=r"no such run.*did you mean 'one'"):
        find_run("on", runs=tmp_path)


def test_a_bundle_is_found_in_its_run(tmp_path: Path):
    made, run = tmp_path / "store" / "bundle" / "abc", tmp_path / "one"
    made.mkdir(parents=True)
    run.mkdir()
    (run / "10-bundle").symlink_to(made)
    with pytest.raises(CompressError, match="holds no bundle"):
        find_bundle("one", runs=tmp_path)
    (made / "run.py").touch()
    assert find_bundle("one", runs=tmp_path) == find_bundle(str(made), runs=tmp_path) == made.resolve()


def test_a_summary_is_printed_as_a_table(tmp_path: Path):
    (tmp_path / "summary.json").write_text(json.dumps({"schema": 1, "student_accuracy": 0.99123456, "device": "x", "exports": {"a": "b"}}))
    assert summary_lines(tmp_path) == [
        "schema            1",
        "student_accuracy  0.991235",
        "device            x",
        'exports           {"a": "b"}',
    ]


@pytest.mark.parametrize(("text", "message"), [(None, "not there; the run has not come"), ("{", "not JSON")])
def test_a_summary_that_cannot_be_read_is_an_error(tmp_path: Path, text, message):
    if text is not None:
        (tmp_path / "summary.json").write_text(text)
    with pytest.raises(CompressError, match=message):
        summary_lines(tmp_path)
