"""What a manifest refuses, each with its own message."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from compress.device.errors import ManifestError
from compress.device.manifest import MANIFEST, verify_folder, write_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files, one of them in a subfolder, with their manifest."""
    root = tmp_path / "root"
    (root / "models").mkdir(parents=True)
    (root / "a.json").write_text("[1, 2, 3]")
    (root / "models" / "b.onnx").write_bytes(bytes(range(256)) * 64)
    write_manifest(root, extra={"name": "tiny"})
    return root


def edit(folder: Path, change) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_verify_accepts_what_was_written(folder: Path) -> None:
    manifest = verify_folder(folder)
    assert list(manifest["files"]) == ["a.json", "models/b.onnx"]
    assert manifest["name"] == "tiny"


def test_write_gives_the_same_bytes_again(folder: Path) -> None:
    before = (folder / MANIFEST).read_bytes()
    write_manifest(folder, extra={"name": "tiny"})
    assert (folder / MANIFEST).read_bytes() == before


@pytest.mark.parametrize("name", ["a.json", "models/b.onnx"])
def test_verify_refuses_a_flipped_bit_in_any_file(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ManifestError, match=f"{name}: sha256 .* the file was changed"):
        verify_folder(folder)


def test_verify_refuses_a_missing_file(folder: Path) -> None:
    (folder / "a.json").unlink()
    with pytest.raises(ManifestError, match="a.json: listed in manifest.json, but missing"):
        verify_folder(folder)


def test_verify_refuses_an_unlisted_file(folder: Path) -> None:
    (folder / "models" / "c.py").write_text("")
    with pytest.raises(ManifestError, match=r"models/c\.py: not listed in manifest\.json"):
        verify_folder(folder)


@pytest.mark.parametrize("name", ["engines/x.engine", "x.rtx.engine", "measurements.json", "engines/timing.cache"])
def test_verify_leaves_out_what_a_device_adds(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("{}")
    assert len(verify_folder(folder)["files"]) == 2


def test_verify_refuses_a_wrong_size_before_it_hashes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(folder / "a.json", "ab") as file:
        file.write(b" ")
    monkeypatch.setattr("compress.device.manifest.hash_file", lambda path: pytest.fail("hashed a file of the wrong size"))
    with pytest.raises(ManifestError, match=r"a\.json: 10 bytes, but manifest\.json says 9"):
        verify_folder(folder)


@pytest.mark.parametrize("name", ["../a.json", "models/../../a.json"])
def test_verify_refuses_a_path_that_climbs_out(folder: Path, name: str) -> None:
    edit(folder, lambda manifest: manifest["files"].update({name: manifest["files"]["a.json"]}))
    with pytest.raises(ManifestError, match="climbs out"):
        verify_folder(folder)


@pytest.mark.parametrize("name", ["/etc/passwd", "C:/a.json", "models\\b.onnx", "a\0b"])
def test_verify_refuses_an_absolute_or_foreign_path(folder: Path, name: str) -> None:
    edit(folder, lambda manifest: manifest["files"].update({name: manifest["files"]["a.json"]}))
    with pytest.raises(ManifestError, match="absolute or not portable"):
        verify_folder(folder)


@pytest.mark.parametrize("name", ["", ".", "./a.json", "models//b.onnx", "models/"])
def test_verify_refuses_a_path_in_a_longer_form(folder: Path, name: str) -> None:
    edit(folder, lambda manifest: manifest["files"].update({name: manifest["files"]["a.json"]}))
    with pytest.raises(ManifestError, match="shortest form"):
        verify_folder(folder)


def test_verify_refuses_a_link_to_the_right_content(folder: Path, tmp_path: Path) -> None:
    (folder / "a.json").rename(tmp_path / "outside.json")
    (folder / "a.json").symlink_to(tmp_path / "outside.json")
    with pytest.raises(ManifestError, match=r"a\.json: a symbolic link"):
        verify_folder(folder)


def test_verify_refuses_a_linked_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "models").rename(tmp_path / "outside")
    (folder / "models").symlink_to(tmp_path / "outside")
    with pytest.raises(ManifestError, match="models: a symbolic link"):
        verify_folder(folder)


def test_verify_refuses_a_linked_manifest(folder: Path, tmp_path: Path) -> None:
    (folder / MANIFEST).rename(tmp_path / "outside.json")
    (folder / MANIFEST).symlink_to(tmp_path / "outside.json")
    with pytest.raises(ManifestError, match=r"manifest\.json: a symbolic link"):
        verify_folder(folder)


def test_verify_refuses_a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(ManifestError, match="pipe: a device, socket or pipe"):
        verify_folder(folder)


def test_verify_refuses_a_folder_without_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="not a bundle"):
        verify_folder(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\x00\xff"])
def test_verify_refuses_a_manifest_that_is_no_json(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(ManifestError, match="cannot be read as JSON"):
        verify_folder(folder)


@pytest.mark.parametrize("text", ["[]", "{}", '{"schema": 2, "files": {}}', '{"schema": 1, "files": []}'])
def test_verify_refuses_another_schema(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)
    with pytest.raises(ManifestError, match="not a manifest of schema 1"):
        verify_folder(folder)


@pytest.mark.parametrize(
    "entry", [None, {}, {"size": -1, "sha256": "0" * 64}, {"size": 9, "sha256": "x" * 64}, {"size": "9", "sha256": "0" * 64}]
)
def test_verify_refuses_an_entry_without_hash_or_size(folder: Path, entry: object) -> None:
    edit(folder, lambda manifest: manifest["files"].update({"a.json": entry}))
    with pytest.raises(ManifestError, match="needs a sha256"):
        verify_folder(folder)


def test_write_refuses_keys_of_its_own(folder: Path) -> None:
    with pytest.raises(ManifestError, match="the manifest's own"):
        write_manifest(folder, extra={"files": {}})
