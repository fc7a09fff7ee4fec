"""On which address a server may listen, and what is refused before it does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from compress.errors import CompressError, DependencyError
from compress.serving.server import Address, check_address, opening_lines, read_token, require_extra


@pytest.mark.parametrize(
    ("address", "token", "message"),
    [
        (Address("192.168.0.2"), None, "give --token-file"),
        (Address("0.0.0.0"), None, "give --token-file"),
        (Address("0.0.0.0"), "a" * 20, "--name NAME"),
        (Address("::"), "a" * 20, "--name NAME"),
        (Address(certificate=Path("a.pem")), None, "belong together"),
    ],
)
def test_address_that_is_open_to_others_is_refused(address: Address, token: str | None, message: str) -> None:
    with pytest.raises(CompressError, match=message):
        check_address(address, token)


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        (Address(), ("localhost", "127.0.0.1", "[::1]")),
        (Address("::1", names=("box",)), ("localhost", "127.0.0.1", "[::1]", "box")),
        (Address("192.168.0.2", names=("box.lan",)), ("192.168.0.2", "box.lan")),
        (Address("0.0.0.0", names=("box.lan",)), ("box.lan",)),
        (Address("fe80::1"), ("[fe80::1]",)),
    ],
)
def test_names_that_are_served(address: Address, hosts: tuple[str, ...]) -> None:
    assert address.hosts == hosts
    check_address(address, "a" * 20)


def test_open_address_without_tls_is_warned_of() -> None:
    assert len(opening_lines(Address(), ["student"])) == 1
    assert "warning: without TLS" in opening_lines(Address("192.168.0.2"), ["student"])[1]
    assert len(opening_lines(Address("192.168.0.2", certificate=Path("a"), key=Path("b")), ["student"])) == 1


def test_keeping_is_told_of() -> None:
    assert opening_lines(Address(), ["student"], kept=Path("kept"))[1].endswith("are kept in kept")


def test_token_comes_from_a_file_and_is_long_enough(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("correct-horse-battery\n")
    assert read_token(file) == "correct-horse-battery"
    for text in ("short", "a" * 20 + " " + "b", "ü" * 30, ""):
        file.write_text(text)
        with pytest.raises(CompressError, match="at least 16 letters") as caught:
            read_token(file)
        assert not text or text not in str(caught.value)
    with pytest.raises(CompressError, match="cannot be read"):
        read_token(tmp_path / "none")


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(DependencyError, match=r"needs the extra serve .*pip install 'compress\[serve\]'"):
        require_extra()
