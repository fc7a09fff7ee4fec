"""Artifacts read back as what they were written, a change to any byte is found, and each ingredient moves the fingerprint."""

import copy
import dataclasses
import json
import subprocess
import sys

import pytest
from ports import io_spec

from compress.errors import StoreError
from compress.store import artifacts
from compress.store.artifacts import KINDS, FileRecord, TorchModel, explain, find_fault, fingerprint, ingredients, load, record_files

SPEC = io_spec(image_size=64, text_length=24, vocabulary=120, classes=13)
BASE = {
    "config": {"train": {"epochs": 30, "batch_size": 128}, "losses": [{"name": "kd", "weight": 1.0}]},
    "parents": {"teacher": "a" * 64, "data": "b" * 64},
    "extras": {"seed": 0, "plugins": "c" * 64},
    "libraries": ["filelock", "no-such-distribution"],
}


def make_ingredients(**changes):
    return ingredients("distill", changes.pop("version", 1), **{**copy.deepcopy(BASE), **changes})


@pytest.fixture
def folder(tmp_path):
    """A published-like folder with two files and its record."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "logs" / "steps.csv").write_text("step,loss\n")
    model = TorchModel(io_spec=SPEC, metrics={"accuracy": {"value": 99.1, "unit": "%", "samples": 9673}}, details={"steps": 5})
    dataclasses.replace(model, fingerprint="f" * 64, parents=("a", "b"), files=record_files(tmp_path), seconds=1.5).save(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_artifact_of_each_kind_reads_back_equal(tmp_path, kind):
    written = KINDS[kind](io_spec=SPEC, metrics={"loss": {"value": 0.5}}, parents=("a",), files={"x": FileRecord("0", 1)}, git_commit="c")
    written.save(tmp_path)
    assert load(tmp_path) == dataclasses.replace(written, path=tmp_path)
    assert type(load(tmp_path)) is KINDS[kind] and KINDS[kind].kind == kind


def test_artifact_without_io_spec_reads_back(tmp_path):
    artifacts.Report().save(tmp_path)
    assert load(tmp_path).io_spec is None


def test_record_leaves_the_path_out_so_that_a_store_can_be_moved(folder):
    assert str(folder) not in (folder / "artifact.json").read_text()


def test_file_names_what_there_is_when_absent(folder):
    assert load(folder).weights == folder / "model.safetensors"
    with pytest.raises(StoreError, match=r"no file 'model.onnx'; it holds \['logs/steps.csv', 'model.safetensors'\]"):
        load(folder).file("model.onnx")
    with pytest.raises(StoreError, match="unpublished"):
        _ = TorchModel().weights


def test_unknown_kind_names_the_known_ones(tmp_path):
    class Painting(artifacts.Artifact):
        kind = "painting"

    Painting().save(tmp_path)
    with pytest.raises(StoreError, match="artifact.json: unknown kind 'painting'; known are data, torch_model"):
        load(tmp_path)


def test_newer_schema_is_refused_and_not_called_damaged(tmp_path):
    TorchModel(schema=artifacts.SCHEMA + 1).save(tmp_path)
    with pytest.raises(StoreError, match=f"schema {artifacts.SCHEMA + 1}, but this version of compress reads {artifacts.SCHEMA}"):
        load(tmp_path)
    assert find_fault(tmp_path) is None


def test_missing_record_names_the_place(tmp_path):
    with pytest.raises(StoreError, match=f"{tmp_path}/artifact.json: no such file"):
        load(tmp_path)


def test_metric_that_json_cannot_carry_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        TorchModel(metrics={"loss": float("nan")}).save(tmp_path)
    assert not (tmp_path / "artifact.json").exists()


def test_find_fault_passes_what_was_recorded(folder):
    assert find_fault(folder) is None


@pytest.mark.parametrize(
    ("content", "fault"), [(b"weighty", "sha256"), (b"weights+", "8 bytes, but 7 were recorded"), (None, "the file is missing")]
)
def test_find_fault_sees_a_changed_file(folder, content, fault):
    place = folder / "model.safetensors"
    place.unlink()
    if content is not None:
        place.write_bytes(content)
    assert fault in find_fault(folder)


def test_find_fault_without_hashes_sees_sizes_only(folder):
    (folder / "model.safetensors").write_bytes(b"weighty")
    assert find_fault(folder, hashes=False) is None


@pytest.mark.parametrize(("old", "new", "fault"), [("99.1", "99.9", "altered"), ("{", "", "damaged"), ('"seal"', '"sea"', "damaged")])
def test_find_fault_sees_a_changed_record(folder, old, new, fault):
    place = folder / "artifact.json"
    place.write_text(place.read_text().replace(old, new, 1))
    assert fault in find_fault(folder)


def test_record_files_leaves_out_checkpoint_and_own_records(folder):
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "state.pt").write_bytes(b"state")
    (folder / "ingredients.json").write_text("{}")
    assert list(record_files(folder)) == ["logs/steps.csv", "model.safetensors"]


def test_record_files_refuses_a_symbolic_link(folder, tmp_path):
    (folder / "elsewhere").symlink_to("/etc/hostname")
    with pytest.raises(StoreError, match="elsewhere: a symbolic link cannot be published; .* copy /etc/hostname"):
        record_files(folder)


def test_write_json_atomic_keeps_the_old_file_when_it_fails(tmp_path):
    place = tmp_path / "summary.json"
    artifacts.write_json_atomic(place, {"a": 1})
    with pytest.raises(TypeError):
        artifacts.write_json_atomic(place, {"a": object()})
    assert json.loads(place.read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_fingerprint_ignores_the_order_of_keys():
    reordered = {"train": {"batch_size": 128, "epochs": 30}}
    config = {"losses": BASE["config"]["losses"], **reordered}
    assert list(config) != list(BASE["config"])
    assert fingerprint(make_ingredients(config=config, libraries=BASE["libraries"][::-1])) == fingerprint(make_ingredients())


# what changes -> why the stage runs
CHANGES = [
    ({"version": 2}, "stage distill version 1 -> 2"),
    ({"config": {**BASE["config"], "train": {"epochs": 20, "batch_size": 128}}}, "config train.epochs: 30 -> 20"),
    ({"config": {**BASE["config"], "losses": [{"name": "mse", "weight": 1.0}]}}, 'config losses[0].name: "kd" -> "mse"'),
    ({"config": {**BASE["config"], "patience": 3}}, "config patience: (not set) -> 3"),
    ({"config": {**BASE["config"], "losses": []}}, 'config losses: [{"name": "kd", "weight": 1.0}] -> []'),
    ({"parents": {**BASE["parents"], "teacher": "d" * 64}}, "parent teacher changed"),
    ({"extras": {**BASE["extras"], "seed": 1}}, "seed: 0 -> 1"),
    ({"extras": {**BASE["extras"], "plugins": "d" * 64}}, "plugins changed"),
    ({"libraries": ["filelock"]}, "library no-such-distribution absent -> (not set)"),
]


@pytest.mark.parametrize(("change", "reason"), CHANGES, ids=[reason for _, reason in CHANGES])
def test_each_ingredient_moves_the_fingerprint_and_is_explained(change, reason):
    before, after = make_ingredients(), make_ingredients(**change)
    assert fingerprint(before) != fingerprint(after)
    assert explain("distill", after, before) == reason


def test_stage_name_moves_the_fingerprint():
    assert fingerprint(make_ingredients()) != fingerprint(ingredients("quantize", 1, **BASE))


def test_library_version_moves_the_fingerprint_and_is_explained():
    before = make_ingredients()
    after = copy.deepcopy(before)
    after["libraries"]["filelock"] = "99.0"
    assert fingerprint(before) != fingerprint(after)
    assert explain("distill", after, before) == f"library filelock {before['libraries']['filelock']} -> 99.0"
    assert before["libraries"]["no-such-distribution"] == "absent"


def test_explain_without_previous_or_without_difference():
    assert explain("distill", make_ingredients(), None) == "never made"
    assert explain("distill", make_ingredients(), make_ingredients()) == "no longer in the store"


def test_explain_shows_three_reasons_and_counts_the_rest():
    config = {"train": {"epochs": 1, "batch_size": 2}, "losses": []}
    reason = explain("distill", make_ingredients(config=config, extras={"seed": 1, "plugins": "c" * 64}), make_ingredients())
    assert reason.count(";") == 3 and reason.endswith("; and 1 more")


def test_ingredients_read_back_equal():
    made_of = make_ingredients(config={"size": (64, 64)})
    assert json.loads(json.dumps(made_of)) == made_of


def test_store_and_artifacts_import_nothing_heavy():
    code = "import sys, compress.store.store, compress.store.artifacts; print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert "compress.store.store" in loaded
    assert not loaded & {"torch", "onnx", "onnxruntime", "numpy", "pydantic", "transformers", "filelock"}
