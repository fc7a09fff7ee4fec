"""A user's file is opened where it is a regular one of a bounded size; whoever asks says under which kind its faults are counted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compress.device.errors import AudioError, FileError, ImageError
from compress.device.plain_file import open_plain


def test_path_and_content_are_read_from_their_start(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    for value in (tmp_path / "a", str(tmp_path / "a"), b"abc", bytearray(b"abc")):
        with open_plain(value, error=FileError, most=3) as file:
            assert file.read() == b"abc"


@pytest.mark.parametrize(("error", "kind"), [(FileError, "file"), (ImageError, "image"), (AudioError, "audio")])
def test_faults_are_of_the_kind_that_was_asked_for(tmp_path: Path, error: type[FileError], kind: str) -> None:
    for value, reason, detail in ((b"", f"broken {kind}", "the file is empty"), (b"abcd", f"{kind} too large", "4 bytes, more than 3")):
        with pytest.raises(error) as caught:
            open_plain(value, error=error, most=3)
        assert (caught.value.reason, caught.value.detail) == (reason, detail)
    with pytest.raises(error, match="missing file"):
        open_plain(tmp_path / "nothing", error=error, most=3)


def test_file_that_becomes_a_pipe_meanwhile_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    stat = os.stat

    def look_then_replace(path: object, *args: object, **options: object) -> os.stat_result:
        found = stat(path, *args, **options)  # type: ignore[arg-type]
        os.unlink(tmp_path / "a")
        os.mkfifo(tmp_path / "a")
        return found

    monkeypatch.setattr("compress.device.plain_file.os.stat", look_then_replace)
    with pytest.raises(FileError, match="not a regular file: a pipe"):
        open_plain(tmp_path / "a", error=FileError, most=3)
