"""The shipped recipes, run whole: majority, teacher, student alone, distilled, shipped, and each modality alone, on test: accuracy, size, latency.

    python benchmarks/modalities.py --only audio_digits --data audio_digits fsdd.parquet --seeds 0     writes results/modalities/audio_digits-as_shipped-0.json
    python benchmarks/modalities.py --only trimodal_stamps --data trimodal_stamps stamps --arms "as shipped" "image alone"
    python benchmarks/modalities.py --publish                                                     puts the tables into their document

A result that is there is not made again. Arms of a recipe share a folder of `--runs`, so that what they have in common is made once. The first lines
of each recipe say where its data comes from; name with --data what lies elsewhere. The seed is that of training: the data are split the same
way for each, and another split is an arm.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from losses import slug
from record import (
    ROOT,
    add_training_arguments,
    markdown_table,
    origin_line,
    read_results,
    run_program,
    show_tables,
    spread,
)
from trial import judge, make_missing, right_answers, tell_test, whole_run

from compress.errors import DataError
from compress.store.artifacts import Artifact
from compress.tables import MODALITIES

LIMIT_S = 4 * 3600.0
WHOLE, ALONE = "as shipped", " alone"
PER_MODALITY = ("data.inputs", "teacher.inputs", "teacher.encoders", "student.encoders", "distill.augment")
TRAININGS = ("teacher.train", "distill.train", "quantize.train")


@dataclass(frozen=True)
class Shipped:
    """A recipe of recipes/: what its data is called, where it names its files, and its other splits as arms."""

    title: str
    files: tuple[str, ...] = ()
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def arms(self, recipe: Mapping[str, Any]) -> dict[str, list[str]]:
        """Arm -> overrides: the recipe as it ships, its other splits, and where there are several inputs each of them alone."""
        inputs = list(recipe["data"]["inputs"])
        alone = {f"{m}{ALONE}": only(recipe, m) for m in inputs} if len(inputs) > 1 else {}
        return {WHOLE: [], **{name: list(overrides) for name, overrides in self.splits.items()}, **alone}


PATH = ("data.options.path",)
RECIPES = {
    "audio_digits": Shipped(
        "spoken digits, test speakers theo and yweweler",
        PATH,
        {
            f"test speakers {a} and {b}": (f"data.options.test_speakers=[{a}, {b}]",)
            for a, b in (("george", "jackson"), ("lucas", "nicolas"))
        },
    ),
    "trimodal_stamps": Shipped("stamps", PATH, {f"fold {k}": (f"data.options.fold={k}",) for k in range(1, 5)}),
    "image_photos": Shipped("fruit, photographs", PATH),
    "text_intents": Shipped("BANKING77", ("data.options.train", "data.options.test")),
    "mobile_vqa": Shipped("easy-VQA"),
}


def only(recipe: Mapping[str, Any], modality: str) -> list[str]:
    """The overrides that leave a recipe one of its modalities; rows that lack it are left out."""
    overrides = ["data.allow_missing=false", "data.on_bad_row=skip", "data.paraphrases=null", "student.fusion={}"]
    for place in PER_MODALITY:
        section, name = place.split(".")
        given = recipe[section].get(name) or {}
        kept = {key: words for key, words in given.items() if key == modality or key not in MODALITIES}
        if given:
            overrides.append(f"{place}={json.dumps(kept or None)}")
    hidden = (place for place in TRAININGS if "modality_dropout" in _at(recipe, place))
    return [*overrides, *(f"{place}.modality_dropout=0" for place in hidden)]


def _at(recipe: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    section, name = place.split(".")
    return recipe.get(section, {}).get(name, {})


def measure(name: str, arm: str, seed: int, *, given: Sequence[Path], overrides: Sequence[str], runs: Path, threads: int) -> dict[str, Any]:
    """The result of one recipe, arm and seed.

    Raises: CompressError where the run does not end in a bundle; its last lines are the message.
    """
    path, run_name = ROOT / "recipes" / f"{name}.yaml", f"{name}-{slug(arm)}-{seed}"
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    changed = [*RECIPES[name].arms(recipe)[arm], *overrides]
    places = [f"{place}={file.resolve()}" for place, file in zip(RECIPES[name].files, given, strict=True)] if given else []
    made, told = whole_run(path, runs, run_name, overrides=[*places, *changed, f"seed={seed}"], limit=LIMIT_S, threads=threads)
    return {
        **told,
        "recipe": name,
        "arm": arm,
        "seed": seed,
        "inputs": made["data"].details["modalities"],
        "overrides": list(overrides),
        "changed": changed,
        "text": path.read_text(encoding="utf-8"),
        "rows": {split: described["rows"] for split, described in made["data"].details["splits"].items()},
        "found": judge(made, threads=threads),
        **files_of(made, threads=threads),
    }


def files_of(made: Mapping[str, Artifact], *, threads: int) -> dict[str, Any]:
    """{teacher_over_alone, files, noisy, subsets}: the teacher beside the student alone on test; size and latency of each file timed here, and whether
    the machine was too noisy for that; each set of inputs."""
    from compress.measures.paired import compare_paired

    right = right_answers(made, threads=threads)
    measured = json.loads(made["benchmark"].file("measurements.json").read_text())
    files = {
        name: {"size_bytes": m["size"]["value"], **{key: m["latency"]["1"][key] for key in ("median_ms", "p95_ms", "teacher_over_this")}}
        for name, m in measured["models"].items()
        if (m["latency"] or {}).get("1")
    }
    over = compare_paired(right["teacher"], right["alone"]).to_json() if "alone" in right else None
    return {"teacher_over_alone": over, "files": files, "noisy": measured["timing"]["1"]["noisy"], "subsets": measured.get("subsets", [])}


def groups_of(results: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The results of each recipe, arm and set of overrides, in the order of RECIPES, by seed."""
    order, groups = list(RECIPES), {}
    for result in sorted(results, key=lambda r: (order.index(r["recipe"]), r["arm"] != WHOLE, r["arm"], r["overrides"], r["seed"])):
        groups.setdefault((result["recipe"], result["arm"], tuple(result["overrides"])), []).append(result)
    return list(groups.values())


def table(results: Sequence[dict[str, Any]]) -> str:
    """A line for each recipe and arm: mean and standard deviation over the seeds; gains are differences of the same seed."""
    header = (
        "test accuracy, %",
        "arm",
        "rows to learn from, to test on",
        "seeds",
        "majority",
        "teacher",
        "student alone",
        "distilled",
        "gain, points",
        "shipped",
        "file, by seed",
        "teacher over alone, points, by seed, 95 % over test rows",
        "kB",
        "smaller",
        "ms, batch 1",
        "faster",
        "minutes",
    )
    return f"{markdown_table(header, [table_row(found) for found in groups_of(results)])}\n\n{origin_line(results, 'torch')}"


def table_row(results: Sequence[dict[str, Any]]) -> list[str]:
    """One recipe and arm."""
    first, found = results[0], [r["found"] for r in results]
    values = {model: [f["test"][model]["value"] for f in found] for model in ("teacher", "alone", "distilled", "shipped")}
    gains = [distilled - alone for distilled, alone in zip(values["distilled"], values["alone"], strict=True)]
    shipped = [r["files"][r["found"]["shipped"]["file"]] for r in results]
    times = [
        f"{mean([file['median_ms'] for file in shipped]):.2f}",
        f"{mean([file['teacher_over_this']['value'] for file in shipped]):.0f}x",
    ]
    teachers = [r["found"]["teacher_size_bytes"] / file["size_bytes"] for r, file in zip(results, shipped, strict=True)]
    return [
        RECIPES[first["recipe"]].title if first["arm"] == WHOLE else first["recipe"],
        ", ".join([first["arm"], *first["overrides"]]),
        f"{first['rows']['train']:,}, {found[0]['samples']:,}",
        ", ".join(str(r["seed"]) for r in results),
        f"{found[0]['majority']['value']:.1f}",
        *(spread(values[model]) for model in ("teacher", "alone", "distilled")),
        spread(gains, signed=True),
        spread(values["shipped"]),
        ", ".join(f"{f['shipped']['file']} of the one {f['shipped']['arm']}" for f in found),
        ", ".join(interval(r["teacher_over_alone"]) for r in results),
        f"{mean([file['size_bytes'] for file in shipped]) / 1e3:.0f}",
        f"{mean(teachers):.0f}x",
        *(["noisy machine"] * 2 if any(r["noisy"] for r in results) else times),
        f"{mean([sum(r['seconds'].values()) for r in results]) / 60:.0f}",
    ]


def mean(values: Sequence[float]) -> float:
    """Their mean."""
    return sum(values) / len(values)


def interval(paired: Mapping[str, Any]) -> str:
    """A difference with its 95 % interval."""
    return f"{paired['difference']:+.1f} ({paired['low']:+.1f} to {paired['high']:+.1f})"


def gaps_table(results: Sequence[dict[str, Any]]) -> str:
    """Of runs whose rows may lack inputs, a line for each set of inputs: the same models, shown these alone."""
    header = ("test accuracy, %, with these inputs alone", "seeds", "teacher", "shipped")
    rows = []
    for found in groups_of(results):
        for place, line in enumerate(found[0]["subsets"]):
            lines = [r["subsets"][place]["accuracy"] for r in found]
            shown = [
                [100 * accuracy[name]["value"] for accuracy, name in zip(lines, names, strict=True)]
                for names in (["teacher"] * len(found), [r["found"]["shipped"]["file"] for r in found])
            ]
            title = f"{found[0]['recipe']}, {found[0]['arm']}: {', '.join(line['inputs'])}"
            rows.append([title, ", ".join(str(r["seed"]) for r in found), *map(spread, shown)])
    return f"{markdown_table(header, rows)}\n\n{origin_line(results, 'torch')}"


def tables(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Name of the markers -> table."""
    gaps = [result for result in results if result["subsets"]]
    return {"modalities": table(results)} | ({"modalities-gaps": gaps_table(gaps)} if gaps else {})


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES), metavar="RECIPE", help=f"of {', '.join(RECIPES)}")
    parser.add_argument("--arms", nargs="+", metavar="ARM", help=f"such as {WHOLE!r} or 'image{ALONE}'; all of a recipe's where left out")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--data",
        nargs="+",
        action="append",
        default=[],
        metavar=("RECIPE", "PATH"),
        help="where a recipe's data is: a path for each of its files",
    )
    add_training_arguments(parser, "modalities")
    return parser.parse_args(arguments)


def data_of(words: Sequence[Sequence[str]]) -> dict[str, list[Path]]:
    """Recipe -> paths, of what the command line says. Raises DataError for another recipe, and for more or fewer paths than it has files."""
    given = {name: [Path(path) for path in paths] for name, *paths in words}
    for name, paths in given.items():
        files = RECIPES[name].files if name in RECIPES else ()
        if not files or len(paths) != len(files):
            known = "; ".join(f"{each}: {', '.join(recipe.files)}" for each, recipe in RECIPES.items() if recipe.files)
            raise DataError(f"--data {name}: {len(paths)} path(s); give a path for each of the files of a recipe: {known}")
    return given


def main() -> None:
    """Runs the recipes, or prints or publishes the tables."""
    args = parse()
    if show_tables(args, lambda: tables(read_results(args.results))):
        return
    given = data_of(args.data)
    settings = {"overrides": args.overrides, "runs": args.runs / "modalities", "threads": args.threads}
    wanted = (
        (f"{name}-{slug(arm)}-{seed}", partial(measure, name, arm, seed, given=given.get(name, []), **settings))
        for seed in args.seeds
        for name in args.only
        for arm in RECIPES[name].arms(yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")))
        if arm in (args.arms or [arm])
    )
    make_missing(args.results, wanted, tell_test)


if __name__ == "__main__":
    run_program(main)
