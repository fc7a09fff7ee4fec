"""The fleet file: devices that a bundle is measured on, what each costs, and the budget that a device must meet."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field, field_validator, model_validator

from compress.recipe.section import Section

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"  # of a device: a file is named after it


class FleetDevice(Section):
    """One device; its address alone stands for it."""

    at: str = Field(description="local, ssh://user@host[:port][/folder], or adb[:SERIAL] for Android.")
    price: float | None = Field(None, ge=0, description="What it costs, in any currency that is the same for all; null: unknown, and last.")
    python: str = Field("python3", description="The Python there, 3.9 or newer, with numpy and the runtime; not for local.")
    runtime: str = Field("onnxruntime_cpu", description="One of `compress list runtimes`.")
    threads: int = Field(1, ge=1, description="CPU threads.")
    ssh: dict[str, str] = Field(
        {}, description="Options as in ssh_config; those that could run a program or take any host key are refused."
    )

    @model_validator(mode="before")
    @classmethod
    def _address_alone(cls, given: Any) -> Any:
        return {"at": given} if isinstance(given, str) else given


class FleetBudget(Section):
    """What a model must keep to on a device."""

    batch: int = Field(1, ge=1, description="Batch size that counts.")
    max_latency_ms: float | None = Field(None, gt=0, description="Median latency, ms.")
    max_p95_ms: float | None = Field(None, gt=0, description="95th percentile of the latency, ms.")
    max_size_mb: float | None = Field(None, gt=0, description="Size of the file, MB (10^6 bytes).")


class Fleet(Section):
    """Devices that one bundle is measured on."""

    devices: dict[str, FleetDevice] = Field(min_length=1, description="Name -> device.")
    batches: list[int] = Field([1, 8], min_length=1, description="Batch sizes.")
    rounds: int = Field(200, ge=1, description="Timed calls a model and batch.")
    model: str | None = Field(None, description="This model of the bundle alone; null: all.")
    budget: FleetBudget = Field(FleetBudget(), description="What a model must keep to.")

    @field_validator("devices")
    @classmethod
    def _plain_names(cls, given: dict[str, FleetDevice]) -> dict[str, FleetDevice]:
        for name in given:
            if not re.fullmatch(NAME, name):
                raise ValueError(f"device {name!r}: use letters, digits, '.', '_' and '-' in its name")
        return given

    @model_validator(mode="after")
    def _budget_is_measured(self) -> Fleet:
        if self.budget.batch not in self.batches:
            raise ValueError(f"budget.batch {self.budget.batch} is not among batches {self.batches}")
        return self
