"""The sweep file: which places of a recipe are tried with which values, how they are proposed, and by what the trials are judged."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Mapping
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from compress.errors import CompressError, RecipeError
from compress.recipe.fleet import FleetDevice
from compress.recipe.grammar import LoadedRecipe, load_recipe
from compress.recipe.overrides import apply_overrides
from compress.recipe.recipe import Recipe
from compress.recipe.section import Section
from compress.recipe.yaml_source import read_yaml

Objective = Literal["accuracy", "parameters", "multiply_adds", "latency_ms", "latency_ratio", "size_mb", "memory_mb"]


class Tried(Section):
    """What one place is tried with: a list of values, or a range."""

    values: list[Any] | None = Field(None, min_length=1, description="The values; a list alone stands for it.")
    low: int | float | None = Field(None, description="Smallest value of a range; a range between whole numbers holds whole numbers.")
    high: int | float | None = Field(None, description="Largest value of a range.")
    log: bool = Field(False, description="Draw its logarithm evenly, as for a learning rate.")
    step: int | float | None = Field(None, gt=0, description="Values low, low + step, ...; null: any.")

    @model_validator(mode="before")
    @classmethod
    def _list_alone(cls, given: Any) -> Any:
        return {"values": given} if isinstance(given, list) else given

    @model_validator(mode="after")
    def _one_of_both(self) -> Tried:
        if (self.values is None) == (self.low is None or self.high is None):
            raise ValueError("give a list of values, or low and high")
        if self.low is not None and self.high is not None:
            if self.low >= self.high:
                raise ValueError(f"low {self.low} must be below high {self.high}")
            if self.log and (self.low <= 0 or self.step):
                raise ValueError("log needs a low above 0, and no step")
        return self

    @property
    def whole(self) -> bool:
        """Whether the range holds whole numbers alone."""
        return all(isinstance(x, int) for x in (self.low, self.high, self.step or 1))

    @property
    def examples(self) -> list[Any]:
        """Values that stand for all in a check: every one of a list, the ends of a range."""
        return [self.low, self.high] if self.values is None else self.values

    @property
    def as_json(self) -> list[str]:
        """The examples as JSON: a database keeps texts, and a value may be a list or a section."""
        return [json.dumps(value) for value in self.examples]


class LimitError(CompressError):
    """A student is larger than the limits of its sweep, which is known before it is trained."""


class Limits(Section):
    """How large a student may be; a larger one is refused before it is trained."""

    parameters: int | None = Field(None, ge=1, description="Numbers that training sets.")
    multiply_adds: int | None = Field(None, ge=1, description="Of products and convolutions, for one row.")
    size_mb: float | None = Field(
        None, gt=0, description="MB (10^6 bytes) of its weights alone, a byte each in int8 and else four; the file is larger by its graph."
    )

    def check(self, cost: Mapping[str, int], recipe: Recipe) -> None:
        """Raises LimitError where a student of so many `parameters` and `multiply_adds` is too large."""
        found = {**cost, "size_mb": cost["parameters"] * (1 if recipe.quantize else 4) / 1e6}
        over = [f"{name} {found[name]:,} of at most {most:,}" for name, most in self if most is not None and found[name] > most]
        if over:
            raise LimitError(f"the student is too large: {', '.join(over)}")


class Sweep(Section):
    """A sweep over the places of one recipe."""

    name: str | None = Field(
        None, pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,47}$", description="Name of its folder among the runs; null: RECIPE-FILE."
    )
    sampler: Literal["tpe", "random", "grid", "nsga2"] = Field(
        "tpe", description="How trials are proposed. grid: every combination of values; nsga2: generations, for several objectives."
    )
    pruner: Literal["asha", "median"] | None = Field(
        None,
        description="Ends a training whose validation accuracy is behind. asha: at 20 and 60 % of it where it is not in the best third of those that "
        "came so far; median: behind the median of the others at any tenth of it, once four are finished; null: none. For accuracy alone.",
    )
    limits: Limits = Field(Limits(), description="How large a student may be.")
    trials: int | None = Field(
        None, ge=1, le=100_000, description="Trials at most, without those that the limits refuse; null: all of a grid."
    )
    seed: int = Field(0, ge=0, description="Seed of the proposals; the recipe's own is another.")
    objectives: list[Objective] = Field(
        ["accuracy"],
        min_length=1,
        description="accuracy: of the validation rows, int8 where it is trained; parameters, multiply_adds: of the student; latency_ms, latency_ratio, "
        "size_mb, memory_mb: of the model that ships. Without these four a trial ends when its student is trained.",
    )
    device: FleetDevice | None = Field(
        None, description="Where latency_ms is measured, as a device of a fleet file; null: on the machine that runs the trial."
    )
    places: dict[str, Tried] = Field(min_length=1, description="Dotted place in the recipe -> values or range, as for `-o`.")

    @model_validator(mode="after")
    def _fits_the_sampler(self) -> Sweep:
        if self.sampler == "grid" and (ranges := [place for place, tried in self.places.items() if tried.values is None]):
            raise ValueError(f"a grid needs lists of values, and {ranges[0]} is a range")
        if self.sampler != "grid" and self.trials is None:
            raise ValueError(f"say how many trials {self.sampler} may make")
        if self.pruner and self.objectives != ["accuracy"]:
            raise ValueError("a pruner compares accuracies: leave it out, or let accuracy be the only objective")
        if self.device and "latency_ms" not in self.objectives:
            raise ValueError("a device is for latency_ms, which is no objective here")
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError("an objective is named twice")
        return self


def as_override(place: str, value: Any) -> str:
    """`place=value` with the value as JSON, which is YAML: what `-o` takes."""
    return f"{place}={json.dumps(value)}"


def check_places(loaded: LoadedRecipe, sweep: Sweep) -> None:
    """Returns where the recipe takes every value at every place, as far as each can be tried alone.

    Raises: RecipeError with every fault, before anything is made.
    """
    problems = []
    for override in itertools.chain(*([as_override(p, value) for value in tried.examples] for p, tried in sweep.places.items())):
        try:
            load_recipe(loaded.path, [*loaded.overrides, override])
        except RecipeError as error:
            problems += error.problems
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)))


def with_overrides(text: str, overrides: list[str]) -> str:
    """The recipe `text` with these values set, as YAML; comments are gone."""
    data = copy.deepcopy(read_yaml(text).data)
    apply_overrides(data, overrides, Recipe)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=140)
