"""A bundle on every device of a fleet: all are measured, one after the other, and what fails is told and does not end it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from compress.errors import CompressError
from compress.fleet.adb import Adb
from compress.fleet.measurements import BenchOptions, bench_here, verify_bundle
from compress.fleet.remote import Remote, bench_at, parse_device
from compress.recipe.fleet import Fleet, FleetBudget, FleetDevice

# What a file may set for ssh: which key opens, which keys are known. An option such as ProxyCommand runs a program here.
SSH_OPTIONS = (
    "IdentityFile",
    "IdentitiesOnly",
    "CertificateFile",
    "UserKnownHostsFile",
    "GlobalKnownHostsFile",
    "HostKeyAlias",
    "ConnectTimeout",
)
KNOWN_HOSTS = "StrictHostKeyChecking=yes"  # first, so that neither the file nor the user's own configuration takes a key that is not known

Measure = Callable[[Path, Path, BenchOptions], dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """What came of one device: its measurements, or why there are none."""

    name: str
    device: FleetDevice
    measured: dict[str, Any] | None = None
    error: str | None = None


@dataclass(frozen=True)
class Line:
    """One model at one batch size on one device. misses: what it misses of the budget; None where it is another batch size than the budget's."""

    name: str
    price: float | None
    entry: dict[str, Any]
    misses: tuple[str, ...] | None

    @property
    def met(self) -> bool:
        """Whether the whole budget is kept to."""
        return self.misses == ()


def bench_fleet(bundle: Path, folder: Path, fleet: Fleet, *, say: Callable[[str], None] = print) -> list[Outcome]:
    """An outcome for each device, in the file's order; measurements are also written to `folder`/measurements-NAME.json.

    Raises: CompressError for an address or an option that is not taken, before anything is measured; BundleError for a changed bundle.
    """
    verify_bundle(bundle)
    ways = {name: way_to(name, device, say=say) for name, device in fleet.devices.items()}
    found = []
    for name, device in fleet.devices.items():
        options = BenchOptions(device.runtime, device.threads, tuple(fleet.batches), fleet.rounds, fleet.model)
        say(f"{name}: measuring at {device.at}")
        try:
            found.append(Outcome(name, device, ways[name](bundle, folder / f"measurements-{name}.json", options)))
        except CompressError as error:
            found.append(Outcome(name, device, error=str(error)))
            say(f"{name}: not measured: {error}")
    return found


def way_to(name: str, device: FleetDevice, *, say: Callable[[str], None] = print) -> Measure:
    """What measures there. Raises CompressError for an address of another form, or an ssh option that a file may not set."""
    place = f"devices.{name}"
    if device.ssh and not device.at.startswith("ssh://"):
        raise CompressError(f"{place}.ssh: {device.at} is not reached by ssh; leave it out")
    if device.at == "local":
        return bench_here
    if device.at == "adb" or device.at.startswith("adb:"):
        remote: Remote | Adb = Adb(device.at.partition(":")[2] or None)
    elif device.at.startswith("ssh://"):
        for option in device.ssh:
            if option not in SSH_OPTIONS:
                raise CompressError(
                    f"{place}.ssh.{option}: a fleet file may set {', '.join(SSH_OPTIONS)}; all else belongs to your ssh_config"
                )
        if any(re.search(r"[\s%$`]", value) for value in device.ssh.values()):
            raise CompressError(f"{place}.ssh: a value holds white space or a sign that ssh replaces; give plain paths and words")
        remote = Remote(parse_device(device.at), ssh_options=[KNOWN_HOSTS, *(f"{key}={value}" for key, value in device.ssh.items())])
    else:
        raise CompressError(f"{place}.at: {device.at!r} is no address; give local, ssh://user@host[:port][/folder] or adb[:SERIAL]")
    return partial(bench_at, remote, python=device.python, say=say)


def rank(outcomes: list[Outcome], budget: FleetBudget) -> list[Line]:
    """Every line that was measured: those that meet the budget first, the cheapest device before the others (an unknown price last), then the
    fastest."""
    lines = [
        Line(outcome.name, outcome.device.price, entry, misses(entry, budget))
        for outcome in outcomes
        for entry in (outcome.measured or {}).get("measurements", [])
    ]

    def key(line: Line) -> tuple:
        unknown = line.price is None
        return not line.met, line.misses is None, line.entry["batch"], unknown, line.price or 0.0, line.entry["median_ms"]

    return sorted(lines, key=key)


def misses(entry: dict[str, Any], budget: FleetBudget) -> tuple[str, ...] | None:
    """What one line misses of the budget, each with the limit; None where it is of another batch size."""
    if entry["batch"] != budget.batch:
        return None
    limits = {"max_latency_ms": entry["median_ms"], "max_p95_ms": entry["p95_ms"], "max_size_mb": entry["size_bytes"] / 1e6}
    found = {name: (value, getattr(budget, name)) for name, value in limits.items()}
    return tuple(f"{name}: {value:.3g}, limit {limit:g}" for name, (value, limit) in found.items() if limit is not None and value > limit)
