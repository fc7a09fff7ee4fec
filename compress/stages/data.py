"""Stage 1: rows of the recipe's source to a folder of prepared data."""

from __future__ import annotations

from compress.context import Context
from compress.data.duplicates import list_leaks
from compress.data.paraphrases import write_paraphrases
from compress.data.prepare import prepare
from compress.data.prepared import open_data
from compress.data.source import Source
from compress.recipe.recipe import Recipe
from compress.store.artifacts import DataArtifact


def prepare_data(recipe: Recipe, *, source: Source, ctx: Context) -> DataArtifact:
    """The prepared data that now lie in `ctx.out` (see compress/data/prepared.py); raises DataError for unusable rows."""
    report = prepare(
        source,
        recipe.data,
        ctx.out,
        teacher_inputs=recipe.teacher.inputs,
        seed=recipe.data.seed,
        threads=ctx.threads,
        say=ctx.say,
    )
    if recipe.data.paraphrases:
        write_paraphrases(ctx.base / recipe.data.paraphrases, open_data(ctx.out))
    ctx.say(f"data: {_summary(report)}")
    for leak in list_leaks(report):
        ctx.say(f"data: {leak}")
    return DataArtifact(details=report)


def _summary(report: dict) -> str:
    """Rows by split, what was left out, and what can be scored without looking, in one line."""
    parts = []
    for name, split in report["splits"].items():
        inputs = ", ".join(f"{count:,} {modality.removesuffix('s')}s" for modality, count in split["inputs"].items())
        unlabelled = f", {split['unlabelled_rows']:,} unlabelled" if split["unlabelled_rows"] else ""
        lacking = "".join(f", {count:,} without {m}" for m, count in split.get("lacking", {}).items() if count)
        heads = "".join(f", {head} {own['labelled_rows']:,} labelled" for head, own in split.get("heads", {}).items())
        parts.append(f"{name} {split['rows']:,} rows ({inputs}{unlabelled}{lacking}{heads})")
    if report["skipped"]["rows"]:
        parts.append(f"{report['skipped']['rows']:,} rows skipped")
    parts += [f"{reason}: {count:,} left out" for reason, count in report.get("left_out", {}).items()]
    parts += [f"{name.replace('_', ' ')} {100 * value:.1f} %" for name, value in report["baselines"].items()]
    return "; ".join(parts)
