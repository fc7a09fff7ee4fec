"""Measuring on another device: which addresses are taken, and the whole way over a real ssh server on loopback."""

from __future__ import annotations

import json
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from compress.device.manifest import hash_file, verify_folder
from compress.errors import BundleError, CompressError, DependencyError
from compress.fleet.measurements import BenchOptions
from compress.fleet.remote import Device, Remote, bench_there, copy_bundle, parse_device

OPTIONS = BenchOptions(batches=(1, 2), rounds=3)


def measure(there: Any, bundle: Path, out: Path, **settings: Any) -> tuple[dict[str, Any], list[str]]:
    """The measurements and what was said."""
    said: list[str] = []
    settings = {"python": sys.executable, **settings}
    measured = bench_there(bundle, out, OPTIONS, device=there.device, ssh_options=there.ssh_options, say=said.append, **settings)
    return measured, said


def leftovers(there: Any) -> list[Path]:
    return list(Path(str(there.device.folder)).iterdir())


def test_a_bundle_is_measured_there_and_nothing_is_left(there: Any, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "measurements-there.json"
    measured, _ = measure(there, bundle, out)
    assert json.loads(out.read_text()) == measured
    assert measured["bundle"] == hash_file(bundle / "manifest.json")
    assert [(line["model"], line["batch"]) for line in measured["measurements"]] == [
        ("fp32", 1), ("int8_qat", 1), ("fp32", 2), ("int8_qat", 2)
    ]  # fmt: skip
    assert leftovers(there) == []
    steps = [word for command in there.commands for word in ("verify", "bench") if f"run.py {word}" in command]
    assert steps == ["verify", "bench"]
    verify_folder(bundle)


def test_keep_leaves_a_copy_that_verifies(there: Any, bundle: Path, tmp_path: Path) -> None:
    (bundle / "measurements.json").write_text("of this machine")
    _, said = measure(there, bundle, tmp_path / "out.json", keep=True)
    (copy,) = leftovers(there)
    verify_folder(copy)
    assert json.loads((copy / "measurements.json").read_text())["kind"] == "measurements"
    assert said[-1].endswith(f"{copy} is kept")


def test_a_changed_bundle_is_refused_before_anything_is_sent(there: Any, bundle: Path, tmp_path: Path) -> None:
    (bundle / "labels.json").write_text("[]")
    with pytest.raises(BundleError, match=r"labels\.json"):
        measure(there, bundle, tmp_path / "out.json")
    assert there.commands == []


def test_a_device_that_gives_other_answers_fails_its_verification(
    there: Any, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy_badly(remote: Remote, bundle: Path, names: list[str], folder: str) -> None:
        copy_bundle(remote, bundle, names, folder)
        with open(f"{folder}/model.onnx", "r+b") as file:  # a flipped byte, as of a bad card
            file.seek(100)
            byte = file.read(1)[0]
            file.seek(100)
            file.write(bytes([byte ^ 1]))

    monkeypatch.setattr("compress.fleet.remote.copy_bundle", copy_badly)
    with pytest.raises(BundleError, match=r"tester@127\.0\.0\.1: verify: .*model\.onnx: sha256"):
        measure(there, bundle, tmp_path / "out.json")
    assert leftovers(there) == []
    assert not (tmp_path / "out.json").exists()


def test_a_runner_that_fails_is_quoted_and_leaves_nothing(there: Any, bundle: Path, tmp_path: Path) -> None:
    options = BenchOptions(batches=(64,), rounds=1)
    with pytest.raises(CompressError, match=r"tester@127\.0\.0\.1: bench: batch 64 is outside 1 to 32"):
        bench_there(
            bundle,
            tmp_path / "o.json",
            options,
            device=there.device,
            python=sys.executable,
            ssh_options=there.ssh_options,
            say=lambda _: None,
        )
    assert leftovers(there) == []


def test_a_missing_python_is_named(there: Any, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match=r"no python3\.99 there; .* --python"):
        measure(there, bundle, tmp_path / "out.json", python="python3.99")
    assert leftovers(there) == []


def test_missing_packages_come_with_the_line_that_installs_them(there: Any, bundle: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    python = str(tmp_path / "bare" / "bin" / "python")
    with pytest.raises(DependencyError, match="no numpy and no onnxruntime; run there: .*python -m pip install numpy onnxruntime$"):
        measure(there, bundle, tmp_path / "out.json", python=python)


def test_a_host_that_does_not_answer_is_named(there: Any, bundle: Path, tmp_path: Path) -> None:
    closed = Device("127.0.0.1", "tester", 1, None)  # nobody listens on port 1
    with pytest.raises(DependencyError, match=r"tester@127\.0\.0\.1: not reached over ssh: .*refused; `ssh -p 1 tester@127\.0\.0\.1`"):
        bench_there(bundle, tmp_path / "o.json", OPTIONS, device=closed, ssh_options=there.ssh_options)


def test_an_unknown_host_key_is_refused(there: Any, bundle: Path, tmp_path: Path) -> None:
    unknown = ["UserKnownHostsFile=/dev/null", *there.ssh_options]
    with pytest.raises(DependencyError, match="Host key verification failed"):
        bench_there(bundle, tmp_path / "o.json", OPTIONS, device=there.device, ssh_options=unknown)
    assert there.commands == []


def test_a_missing_ssh_client_is_named(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DependencyError, match="ssh: no such command here; install an OpenSSH client"):
        bench_there(bundle, tmp_path / "o.json", OPTIONS, device=Device("localhost"))


@pytest.mark.parametrize(
    ("url", "device"),
    [
        ("ssh://board", Device("board")),
        ("ssh://pi@10.0.0.7:2222/home/pi/tests/", Device("10.0.0.7", "pi", 2222, "/home/pi/tests")),
        ("ssh://me@[fe80::1]:22", Device("fe80::1", "me", 22)),
    ],
)
def test_an_address_is_taken_apart(url: str, device: Device) -> None:
    assert parse_device(url) == device


@pytest.mark.parametrize(
    "url",
    [
        "board",
        "http://board",
        "ssh://",
        "ssh://pi:secret@board",
        "ssh://-oProxyCommand=touch@board",
        "ssh://-oProxyCommand=touch",
        "ssh://board;reboot",
        "ssh://$(reboot)@board",
        "ssh://pi@board/a folder",
        "ssh://pi@board/a;reboot",
        "ssh://pi@board/$HOME",
        "ssh://pi@board/home/../etc",
        "ssh://pi@board//etc",
        "ssh://pi@board/a\nb",
        "ssh://pi@board:port",
        "ssh://pi@board:99999",
        "ssh://pi@board/x?y",
        "ssh://pi@board/x#y",
        "ssh://@board",
    ],
)
def test_an_address_that_a_shell_could_misread_is_refused(url: str) -> None:
    with pytest.raises(CompressError, match="--on "):
        parse_device(url)


@pytest.mark.parametrize("option", ["-oProxyCommand=x", "ProxyCommand", "A B=c", "A=b\nC=d"])
def test_an_ssh_option_must_be_a_pair(option: str) -> None:
    with pytest.raises(CompressError, match="--ssh-option"):
        Remote(Device("board"), ssh_options=[option])


@pytest.mark.parametrize("python", ["-c", "python3; reboot", "$(reboot)", ""])
def test_a_python_that_a_shell_could_misread_is_refused(bundle: Path, tmp_path: Path, python: str) -> None:
    with pytest.raises(CompressError, match="--python"):
        bench_there(bundle, tmp_path / "o.json", OPTIONS, device=Device("board"), python=python)
