"""Whether a recipe's student has shares to tell: what its fusion weighs stands in the class that the fusion's function says it returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from compress.recipe.declarations import returned, stated
from compress.recipe.recipe import Recipe
from compress.recipe.yaml_source import Fault

FEWEST = 2  # modalities, where the class says nothing


def check_shares(recipe: Recipe, tables: Mapping[str, Mapping[str, str]]) -> Iterator[Fault]:
    """A fault where export.shares asks for what is not there."""
    if not recipe.export.shares:
        return
    place, name, count = ("export", "shares"), recipe.student.fusion.name, len(recipe.modalities)
    if count == 1:
        yield Fault(place, f"{recipe.modalities[0]} is the only input, so it has no share of anything; leave it out")
    elif stated(tables["TASKS"].get(recipe.data.task, ""), "towers"):
        yield Fault(place, f"the towers of {recipe.data.task} are not joined, so there is nothing to have a share of; leave it out")
    elif name in tables["FUSIONS"] and not fewest_of(tables["FUSIONS"][name]):
        able = [other for other, entry in tables["FUSIONS"].items() if 0 < fewest_of(entry) <= count]
        yield Fault(place, f"student.fusion {name} has no weights, gates or attention to tell; take {', '.join(able)}, or leave it out")
    elif name in tables["FUSIONS"] and (fewest := fewest_of(tables["FUSIONS"][name])) > count:
        yield Fault(
            place, f"student.fusion {name} over {count} inputs lets in the same of each whatever the row; it tells from {fewest} on"
        )


def fewest_of(fusion: str) -> int:
    """From how many modalities on an entry of FUSIONS has shares that say something; 0 where it has none."""
    kind = returned(fusion)
    return int(stated(kind, "fewest") or FEWEST) if stated(kind, "weighs") else 0
