"""Measurements from another device: the bundle goes there over ssh, verifies and measures itself, and its measurements come back.

Uses the system's ssh client and, there, a POSIX shell, tar and Python 3.9 or newer with numpy and the runtime. Nothing is installed.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

from compress.device.manifest import MANIFEST, SIGNATURE, hash_file
from compress.errors import BundleError, CompressError, DependencyError
from compress.fleet.measurements import (
    MAX_BYTES,
    MEASUREMENTS,
    BenchOptions,
    parse_measurements,
    require_same_models,
    runner_error,
    verify_bundle,
)

CONNECT_SECONDS = 10
SSH_FAILED = 255  # ssh's own exit code; any other is the remote command's
PACKAGES = {  # runtime: its module and what pip calls it
    "onnxruntime_cpu": ("onnxruntime", "onnxruntime"),
    "onnxruntime_cuda": ("onnxruntime", "onnxruntime-gpu"),
    "onnxruntime_tensorrt": ("onnxruntime", "onnxruntime-gpu"),
    "tensorrt": ("tensorrt", "tensorrt"),
    "tensorrt_rtx": ("tensorrt_rtx", "tensorrt-rtx"),
}
# Every pattern starts with a letter, digit or slash: what starts with "-" would be an option of ssh.
HOST = r"[A-Za-z0-9][A-Za-z0-9._-]*|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*"
USER = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
FOLDER = r"(/[A-Za-z0-9._+-]+)+"
PYTHON = r"[A-Za-z0-9/][A-Za-z0-9._/+-]*"
SSH_OPTION = r"[A-Za-z][A-Za-z0-9]*=[^\n]+"
MARK = "compress:"  # before what we read: a login script may print lines of its own
PROBE = (
    "import sys, importlib.util as u; print('{mark}%d.%d' % sys.version_info[:2], *[p for m, p in {modules!r} if u.find_spec(m) is None])"
)


@dataclass(frozen=True)
class Device:
    """Where to measure: what `ssh://[user@]host[:port][/folder]` says, each part checked."""

    host: str
    user: str | None = None
    port: int | None = None
    folder: str | None = None  # in which a new folder is made; None: the device's folder for temporary files

    def __str__(self) -> str:
        return f"{self.user}@{self.host}" if self.user else self.host


def parse_device(url: str) -> Device:
    """The device of an ssh:// address. Raises CompressError for a part that ssh or a shell could read as something else."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise CompressError(f"--on {url!r}: {error}; give ssh://user@host[:port][/folder]") from error
    if parts.scheme != "ssh" or re.search(r"\s", url) or parts.query or parts.fragment or parts.password is not None:
        raise CompressError(f"--on {url!r}: not of the form ssh://user@host[:port][/folder], with no password; use a key")
    folder = parts.path.rstrip("/") or None
    given = {"host": (HOST, parts.hostname or ""), "user": (USER, parts.username), "folder": (FOLDER, folder)}
    for name, (pattern, value) in given.items():
        if value is not None and not re.fullmatch(pattern, value):
            raise CompressError(
                f"--on {url!r}: {name} {value!r} is missing or holds signs that a shell could read; use letters, digits, '.', '_' and '-'"
            )
    if folder and ".." in folder.split("/"):
        raise CompressError(f"--on {url!r}: folder {folder!r} climbs up; give the folder itself")
    return Device(host=str(parts.hostname), user=parts.username, port=port, folder=folder)


def bench_there(
    bundle: Path,
    out: Path,
    options: BenchOptions,
    *,
    device: Device,
    python: str = "python3",
    keep: bool = False,
    ssh_options: list[str] | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measurements of `device`, over ssh; see `bench_at`."""
    return bench_at(Remote(device, ssh_options=ssh_options or []), bundle, out, options, python=python, keep=keep, say=say)


class Commands(Protocol):
    """Where commands are run: a `Remote`, or something of its form."""

    device: Device

    def call(self, words: list[str], *, send: Callable[[IO[bytes]], None] | None = None) -> tuple[int, bytes, str]:
        """Exit code, stdout and stderr of a command there; `send` writes its stdin."""
        ...


def bench_at(
    remote: Commands,
    bundle: Path,
    out: Path,
    options: BenchOptions,
    *,
    python: str = "python3",
    keep: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measurements of a device, also written to `out`: verify here, copy, `run.py verify` and `run.py bench` there, fetch, remove.

    Raises DependencyError where ssh, the host, Python or a package is missing, BundleError where the copy does not verify, and the
    runner's own errors. The folder there is removed in every case, unless `keep`.
    """
    manifest, device = verify_bundle(bundle), remote.device
    require_python(remote, python, options.runtime)
    with remote_folder(remote, keep=keep, say=say) as folder:
        say(f"{device}: copying {sum(entry['size'] for entry in manifest['files'].values()) / 1e6:.1f} MB to {folder}")
        copy_bundle(remote, bundle, [*manifest["files"], MANIFEST], folder)
        runner = [python, f"{folder}/run.py"]
        say(f"{device}: verifying")
        run_there(remote, [*runner, "verify", *options.common()], what="verify")
        say(f"{device}: measuring")
        run_there(remote, [*runner, *options.words(f"{folder}/{MEASUREMENTS}")], what="bench")
        content = fetch_text(remote, f"{folder}/{MEASUREMENTS}")
    measured = parse_measurements(content.encode(), place=f"{device}: {MEASUREMENTS}")
    require_same_models(measured, bundle, place=str(device))
    if measured["bundle"] != hash_file(bundle / MANIFEST):
        raise BundleError(f"{device}: measured a bundle of another manifest than {bundle} has; copy it again")
    _write(out, json.dumps(measured, indent=2) + "\n")
    return measured


class Remote:
    """Commands on a device, each by one call of the system's ssh client."""

    def __init__(self, device: Device, *, ssh_options: list[str]) -> None:
        for option in ssh_options:
            if not re.fullmatch(SSH_OPTION, option):
                raise CompressError(f"--ssh-option {option!r}: give NAME=VALUE as in ssh_config")
        # ssh takes the first value of an option: BatchMode must be ours, the timeouts may be the user's
        settings = ["BatchMode=yes", *ssh_options, f"ConnectTimeout={CONNECT_SECONDS}", "ServerAliveInterval=15", "ServerAliveCountMax=4"]
        self.device = device
        self._command = ["ssh", "-T", *(word for setting in settings for word in ("-o", setting))]
        self._command += ["-p", str(device.port)] if device.port else []
        self._command += ["--", str(device)]

    def call(self, words: list[str], *, send: Callable[[IO[bytes]], None] | None = None) -> tuple[int, bytes, str]:
        """Exit code, stdout and stderr of a command there; `send` writes its stdin. Raises DependencyError where ssh itself fails."""
        way_out = "ssh: no such command here; install an OpenSSH client, such as openssh-client"
        code, stdout, stderr = start([*self._command, shlex.join(words)], send=send, missing=way_out)
        if code == SSH_FAILED:
            raise DependencyError(_ssh_message(self.device, stderr))
        return code, stdout, stderr


def start(command: list[str], *, send: Callable[[IO[bytes]], None] | None, missing: str) -> tuple[int, bytes, str]:
    """Exit code, stdout and stderr of a command of this machine; raises DependencyError with the text `missing` where there is none."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:  # files: nobody has to empty them while we send
        stdin = subprocess.PIPE if send else subprocess.DEVNULL
        try:
            process = subprocess.Popen(command, stdin=stdin, stdout=out, stderr=err)
        except FileNotFoundError as error:
            raise DependencyError(missing) from error
        with process:
            if send:
                assert process.stdin
                try:
                    send(process.stdin)
                    process.stdin.close()
                except BrokenPipeError:  # the other end stopped first; its exit code and message say why
                    pass
            code = process.wait()
        return code, _content(out), _content(err).decode(errors="replace")


def require_python(remote: Commands, python: str, runtime: str) -> None:
    """Raises DependencyError unless the device has that Python, 3.9 or newer, with numpy and the runtime's package."""
    if not re.fullmatch(PYTHON, python):
        raise CompressError(f"--python {python!r}: give a command or an absolute path of letters, digits, '.', '_', '-' and '/'")
    if runtime not in PACKAGES:
        raise CompressError(f"--runtime {runtime}: unknown; there are {', '.join(PACKAGES)}")
    modules = [("numpy", "numpy"), PACKAGES[runtime]]
    code, stdout, stderr = remote.call([python, "-c", PROBE.format(mark=MARK, modules=modules)])
    if code in (126, 127):
        raise DependencyError(f"{remote.device}: no {python} there; install Python 3.9 or newer, or name it with --python")
    version, *missing = _marked(stdout, remote, stderr, what=f"{python} -c").split()
    if tuple(map(int, version.split("."))) < (3, 9):
        raise DependencyError(f"{remote.device}: {python} is Python {version}; the runner needs 3.9 or newer, name one with --python")
    if missing:
        line = shlex.join([python, "-m", "pip", "install", *missing])
        raise DependencyError(f"{remote.device}: {python} has no {' and no '.join(missing)}; run there: {line}")


@contextmanager
def remote_folder(remote: Commands, *, keep: bool, say: Callable[[str], None]) -> Iterator[str]:
    """A new private folder on the device, removed at the end unless `keep`."""
    parent = remote.device.folder
    base = shlex.quote(parent) if parent else '"${TMPDIR:-/tmp}"'
    script = f'umask 077; mkdir -p {base} && folder=$(mktemp -d {base}/compress-XXXXXXXX) && echo "{MARK}$folder"'
    _, stdout, stderr = remote.call(["sh", "-c", script])
    folder = _marked(stdout, remote, stderr, what="making a folder")
    if not re.fullmatch(FOLDER, folder) or not re.fullmatch(r"compress-\w{8}", folder.rsplit("/", 1)[-1]):
        raise CompressError(f"{remote.device}: made a folder of an odd name {folder!r}; give one with ssh://user@host/folder")
    try:
        yield folder
    finally:
        if keep:
            say(f"{remote.device}: {folder} is kept")
        else:
            remove_folder(remote, folder, say=say)


def remove_folder(remote: Commands, folder: str, *, say: Callable[[str], None]) -> None:
    """Removes the folder; what fails is said and not raised, since it changes no result and must not hide an earlier error."""
    try:
        code, _, stderr = remote.call(["rm", "-rf", folder])
    except DependencyError as error:
        code, stderr = SSH_FAILED, str(error)
    if code:
        say(f"{remote.device}: {folder} could not be removed: {last_line(stderr)}")


def copy_bundle(remote: Commands, bundle: Path, names: list[str], folder: str) -> None:
    """Sends the named files by tar. What this machine added, such as its engines and measurements, stays here."""
    signature = [SIGNATURE] if (bundle / SIGNATURE).is_file() else []

    def send(stdin: IO[bytes]) -> None:
        with tarfile.open(fileobj=stdin, mode="w|", format=tarfile.USTAR_FORMAT) as archive:
            for name in sorted([*names, *signature]):
                archive.add(bundle / name, arcname=name, recursive=False)

    # -o: not the owner from here, also for root; -m: not the time, which a device's clock may hold for the future
    code, _, stderr = remote.call(["tar", "-xomf", "-", "-C", folder], send=send)
    if code:
        raise CompressError(f"{remote.device}: the bundle could not be unpacked in {folder}: {last_line(stderr)}")


def run_there(remote: Commands, words: list[str], *, what: str) -> None:
    """Runs the runner there; raises its error, with the device and the step before its message."""
    code, _, stderr = remote.call(words)
    if code:
        raise runner_error(code, stderr, place=f"{remote.device}: {what}")


def fetch_text(remote: Commands, path: str) -> str:
    """A JSON file's content as one line: the line breaks of JSON lie between its parts, and one line can be told from a login's noise."""
    code, stdout, stderr = remote.call(["sh", "-c", f"printf %s {MARK}; tr -d '\\n' < {shlex.quote(path)}"])
    if code:
        raise CompressError(f"{remote.device}: {path} could not be fetched: {last_line(stderr)}")
    return _marked(stdout, remote, stderr, what=f"reading {path}")


def _marked(stdout: bytes, remote: Commands, stderr: str, *, what: str) -> str:
    for line in stdout.decode(errors="replace").split("\n"):
        _, mark, rest = line.partition(MARK)
        if mark:
            return rest
    raise CompressError(f"{remote.device}: {what} gave no answer: {last_line(stderr)}")


def _ssh_message(device: Device, stderr: str) -> str:
    port = f"-p {device.port} " if device.port else ""
    return f"{device}: not reached over ssh: {last_line(stderr)}; `ssh {port}{device}` must work without a password"


def last_line(text: str) -> str:
    """The last line with something in it, at most 300 characters."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no message"


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read(MAX_BYTES)


def _write(out: Path, content: str) -> None:
    try:
        out.write_text(content, encoding="utf-8")
    except OSError as error:
        raise CompressError(f"{out}: cannot be written ({error.strerror}); give another place with --out") from error
