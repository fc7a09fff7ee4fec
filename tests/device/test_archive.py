"""Unpacking an archive that may be hostile."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from compress.device.archive import unpack_bundle
from compress.device.errors import ManifestError


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return path


def make_tar(path: Path, files: dict[str, bytes], *, kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = (len(data) if kind == tarfile.REGTYPE else 0), kind, "/etc/passwd"
            file.addfile(info, io.BytesIO(data))
    return path


FORMATS = pytest.mark.parametrize("make", [make_zip, make_tar], ids=["zip", "tar.gz"])


@FORMATS
def test_unpack_gives_the_files(tmp_path: Path, make) -> None:
    archive = make(tmp_path / "x", {"manifest.json": b"{}", "models/a.onnx": b"abc"})
    assert (unpack_bundle(archive, tmp_path / "out") / "models" / "a.onnx").read_bytes() == b"abc"


@FORMATS
def test_unpack_takes_a_single_top_folder_as_the_bundle(tmp_path: Path, make) -> None:
    archive = make(tmp_path / "x", {"bundle/manifest.json": b"{}", "bundle/a": b"abc"})
    assert sorted(path.name for path in unpack_bundle(archive, tmp_path / "out").iterdir()) == ["a", "manifest.json"]


@FORMATS
@pytest.mark.parametrize(("name", "message"), [("../evil", "climbs out"), ("a/../../evil", "climbs out"), ("/evil", "absolute")])
def test_unpack_refuses_a_path_that_climbs_out(tmp_path: Path, make, name: str, message: str) -> None:
    archive = make(tmp_path / "x", {"manifest.json": b"{}", name: b"evil"})
    with pytest.raises(ManifestError, match=message):
        unpack_bundle(archive, tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("evil"))
    assert not list((tmp_path / "deep").iterdir())


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_unpack_refuses_a_link_or_special_file_in_a_tar(tmp_path: Path, kind: bytes) -> None:
    archive = make_tar(tmp_path / "x", {"a": b""}, kind=kind)
    with pytest.raises(ManifestError, match="link or a special file"):
        unpack_bundle(archive, tmp_path / "out")


def test_unpack_refuses_a_link_in_a_zip(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("a")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x", "w") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(ManifestError, match="link or a special file"):
        unpack_bundle(tmp_path / "x", tmp_path / "out")


@FORMATS
def test_unpack_refuses_a_bomb_by_its_ratio(tmp_path: Path, make) -> None:
    archive = make(tmp_path / "x", {"manifest.json": b"{}", "zeros": bytes(20 << 20)})
    assert archive.stat().st_size < 30_000
    with pytest.raises(ManifestError, match="zip bomb"):
        unpack_bundle(archive, tmp_path / "out")


@FORMATS
def test_unpack_refuses_more_than_the_limit(tmp_path: Path, make) -> None:
    archive = make(tmp_path / "x", {"a": b"x" * 600, "b": b"y" * 600})
    with pytest.raises(ManifestError, match="more than 1000 bytes"):
        unpack_bundle(archive, tmp_path / "out", max_bytes=1000)


def test_unpack_refuses_a_zip_that_lies_about_its_sizes(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "x", {"zeros": bytes(20 << 20)})
    size = (20 << 20).to_bytes(4, "little")
    archive.write_bytes(archive.read_bytes().replace(size, (10).to_bytes(4, "little")))  # local and central header
    with pytest.raises(ManifestError, match="broken"):
        unpack_bundle(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unpack_refuses_a_bomb_in_a_tar_header(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a")
    info.pax_headers = {"comment": "x" * (40 << 20)}  # tarfile reads headers into memory
    with tarfile.open(tmp_path / "x", "w:gz", format=tarfile.PAX_FORMAT) as file:
        file.addfile(info)
    with pytest.raises(ManifestError, match="zip bomb"):
        unpack_bundle(tmp_path / "x", tmp_path / "out")


def test_unpack_refuses_a_name_given_twice(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x", "w:gz") as file:
        for data in (b"one", b"two"):
            info = tarfile.TarInfo("a")
            info.size = 3
            file.addfile(info, io.BytesIO(data))
    with pytest.raises(ManifestError, match="given twice"):
        unpack_bundle(tmp_path / "x", tmp_path / "out")


@pytest.mark.parametrize("data", [b"", b"no archive", b"\x1f\x8b" + bytes(20), b"PK\x05\x06" + bytes(10)])
def test_unpack_refuses_what_is_no_archive(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(ManifestError, match="not an archive"):
        unpack_bundle(tmp_path / "x", tmp_path / "out")


@FORMATS
def test_unpack_refuses_a_cut_archive(tmp_path: Path, make) -> None:
    archive = make(tmp_path / "x", {"a": bytes(range(256)) * 1000})
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(ManifestError, match="broken"):
        unpack_bundle(archive, tmp_path / "out")


def test_unpack_refuses_a_folder_that_exists(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="exists already"):
        unpack_bundle(make_zip(tmp_path / "x", {"a": b""}), tmp_path)


def test_unpack_names_an_archive_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="nothing.zip: cannot be unpacked"):
        unpack_bundle(tmp_path / "nothing.zip", tmp_path / "out")
