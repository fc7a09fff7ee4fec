"""`RunResult`: what a run leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from compress.store.artifacts import Artifact
from compress.store.keys import number


@dataclass
class RunResult:
    """What a run leaves: summary.json's content, a line for each miss of the budget and for each target whose int8 files all failed."""

    summary: dict
    budget_misses: list[str]
    folder: Path
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    parity_misses: list[str] = field(default_factory=list)

    @property
    def report(self) -> Path:
        """The page."""
        return self.folder / f"{number('report')}-report" / "report.html"

    @property
    def bundle(self) -> Path:
        """The folder that goes to a device."""
        return self.folder / f"{number('bundle')}-bundle" / "bundle"
