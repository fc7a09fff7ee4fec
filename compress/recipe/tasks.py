"""What a recipe's task decides: the losses where it names none, which losses fit, and what is asked for by name and is not built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from compress.recipe.declarations import class_literal, stated
from compress.recipe.heads import DEFAULT, check_heads, objective_of
from compress.recipe.needs import hidden_state
from compress.recipe.recipe import Recipe
from compress.recipe.sections import Fusion
from compress.recipe.yaml_source import Fault, Place

UNBUILT = {  # what is not built -> other names that people look for it under
    "detection": ("object_detection", "boxes"),
    "instance_segmentation": ("panoptic_segmentation",),
    "speech_recognition": ("asr", "transcription", "ctc"),
    "generation": ("captioning", "translation", "summarization", "summarisation", "seq2seq", "text_generation"),
    "video": ("videos", "video_classification"),
}
OTHER_NAMES = {  # what is built -> other names that people look for it under
    "token_labels": ("ner", "token_classification", "tagging", "sequence_labelling", "sequence_labeling"),
    "segmentation": ("semantic_segmentation", "masks"),
    "verification": ("speaker_verification", "face_verification"),
    "several": ("multi_task", "multitask", "multi_head", "several_heads"),
    "retrieval": ("clip", "clap", "dual_encoder", "two_towers", "cross_modal_retrieval", "image_text_retrieval"),
}
LEFT_OUT = {  # encoders that are left out on purpose -> why
    **dict.fromkeys(
        ("lstm", "bilstm", "rnn", "gru"),
        "is left out: at equal parameters an LSTM lost to distilbert and bag, and no calibrated int8 form of it is there (docs/tried.md); take one of these",
    ),
}
_NAMES = {alias: name for name, aliases in UNBUILT.items() for alias in (name, *aliases)}


def fill_objective(data: dict[str, Any], tables: Mapping[str, Mapping[str, str]]) -> None:
    """Writes the task's own losses into distill.losses, in place, where the recipe names none."""
    name, entry = _task(data, tables)
    distill = data.setdefault("distill", {}) if entry and name != DEFAULT else None
    if isinstance(distill, dict) and entry:
        own = objective_of(data["data"].get("heads"), tables) if stated(entry, "of_heads") else class_literal(entry, "objective")
        if own:
            distill.setdefault("losses", [dict(loss) for loss in own])


def check_task(data: dict[str, Any], tables: Mapping[str, Mapping[str, str]], recipe: Recipe | None) -> Iterator[Fault]:
    """A fault for each loss, teacher and word that the task cannot have; `data` may be invalid elsewhere, `recipe` is None then."""
    yield from _check_losses(data, tables)
    if recipe:
        yield from check_heads(recipe, tables)
        yield from _check_teacher(recipe, tables)
        yield from _check_imbalance(recipe, tables)
        yield from _check_storage(recipe, tables)
        yield from _check_judge(recipe, tables)
        yield from _check_attacks(recipe, tables)
        yield from _check_inputs(recipe, tables)
        yield from _check_towers(recipe, tables)
        yield from _check_places(recipe, tables)


def _check_losses(data: dict[str, Any], tables: Mapping[str, Mapping[str, str]]) -> Iterator[Fault]:
    """A fault for each loss of ours that is of another task; those of plugins may always be tried."""
    name, entry = _task(data, tables)
    distill = data.get("distill")
    losses = distill.get("losses") if isinstance(distill, dict) else None
    if not entry or not isinstance(losses, list) or stated(entry, "of_heads"):  # whose losses are checked head by head
        return
    fitting = fitting_losses(entry, tables["LOSSES"])
    for index, loss in enumerate(losses):
        asked = loss.get("name") if isinstance(loss, dict) else None
        known = tables["LOSSES"].get(asked, ".py:") if isinstance(asked, str) else ".py:"
        if ".py:" not in known and asked not in fitting:
            yield Fault(("distill", "losses", index, "name"), f"{asked} is a loss of another task; {name} takes {', '.join(fitting)}")


def fitting_losses(entry: str, losses: Mapping[str, str]) -> list[str]:
    """The losses of ours that a task of TASKS can be taught with: its own, and where it says so those that compare hidden states."""
    found = list(class_literal(entry, "losses"))
    if stated(entry, "hidden"):
        found += [name for name, loss in losses.items() if ".py:" not in loss and hidden_state(loss, {})]
    return found


def _check_teacher(recipe: Recipe, tables: Mapping[str, Mapping[str, str]]) -> Iterator[Fault]:
    """A fault for a teacher whose answers have another form than the task's."""
    source, trained, entry = recipe.teacher.source, recipe.teacher.fine_tune, tables["TASKS"].get(recipe.data.task)
    if entry and recipe.teacher.smoothing and not stated(entry, "one_of_many"):
        yield Fault(("teacher", "smoothing"), f"{recipe.data.task} has no single label that could be spread over others; leave it out")
    if entry is None or source == "fit" or recipe.teacher.form or (source == "weights" and trained):  # a form is checked by itself
        return
    taken = stated(entry, "foreign")
    if taken is not None and source not in taken:
        yield Fault(
            ("teacher", "source"),
            f"{source} answers in a form or a scale of its own, and {recipe.data.task} needs that of your training rows; take fit, or weights "
            "with fine_tune",
        )
    elif taken is not None and trained:
        yield Fault(("teacher", "fine_tune"), f"the vectors of a model from {source} are the space of {recipe.data.task}; leave it out")


def _check_storage(recipe: Recipe, tables: Mapping[str, Mapping[str, str]]) -> Iterator[Fault]:
    """A fault where answers are stored in part that are no probabilities of labels."""
    entry = tables["TASKS"].get(recipe.data.task, "")
    if recipe.distill.store_top_k is not None and entry and not stated(entry, "one_of_many"):
        yield Fault(("distill", "store_top_k"), f"{recipe.data.task} has no likeliest labels that could be kept; leave it out")


def _check_judge(recipe: Recipe, tables: Mapping[str, Mapping[str, str]]) -> Iterator[Fault]:
    """A fault where answers of another kind than one of K labels are to be named, or judged by the teacher's."""
    entry = tables["TASKS"].get(recipe.data.task, "")
    named = bool(recipe.data.names) and not (entry and stated(entry, "named"))
    for word, asked in (("judge", recipe.data.judge == "teacher"), ("names", named)):
        if asked and entry and not stated(entry, "one_of_many"):
            yield Fault(
                ("data", word), f"is for one of K labels, and {recipe.data.task} learns from labels what an answer is; leave it out"
            )


def _check_attacks(recipe: Recipe, tables: Mapping[str, Mapping[str, str]]) -> Iterator[Fault]:
    """A fault where there is no image to change."""
    if any(stated(tables["MODALITIES"].get(m, ""), "pixels") for m in recipe.modalities):
        return
    for place in (("distill", "adversarial"), ("benchmark", "robustness")):
        if getattr(getattr(recipe, place[0]), place[1]) is not None:
            yield Fault(place, f"changes the pixels of images, and the data has {' and '.join(recipe.modalities)}; leave it out")


def _check_imbalance(recipe: Recipe, tables: Mapping[str, Mapping[str, str]]) -> Iterator[Fault]:
    """A fault for a task whose answers are never rare."""
    entry = tables["TASKS"].get(recipe.data.task, "")
    if recipe.data.imbalance != "none" and entry and stated(entry, "balances") is False:
        yield Fault(("data", "imbalance"), f"{recipe.data.task} has no labels that are rare; leave it out")


def _check_inputs(recipe: Recipe, tables: Mapping[str, Mapping[str, str]]) -> Iterator[Fault]:
    """A fault for inputs that the task cannot answer about."""
    entry = tables["TASKS"].get(recipe.data.task)
    reads = (stated(entry, "reads") if entry else None) or {}
    if reads and set(recipe.modalities) != set(reads):
        yield Fault(("data", "inputs"), f"{recipe.data.task} reads {' and '.join(reads)} alone, found {' and '.join(recipe.modalities)}")
        return
    for m, words in reads.items():
        for word, value in words.items():
            for place, section in (
                ("data", recipe.data.inputs.get(m)),
                ("teacher", recipe.teacher.inputs and recipe.teacher.inputs.get(m)),
            ):
                if section and getattr(section, word) != value:
                    yield Fault((place, "inputs", m, word), f"{recipe.data.task} needs it to be {str(value).lower()}")


def _check_towers(recipe: Recipe, tables: Mapping[str, Mapping[str, str]]) -> Iterator[Fault]:
    """A fault for what cannot be where each input has a vector of its own."""
    entry = tables["TASKS"].get(recipe.data.task)
    if not entry or not stated(entry, "towers"):
        return
    if len(recipe.modalities) == 1:
        yield Fault(
            ("data", "task"), f"{recipe.data.task} finds one kind of input by another, and {recipe.modalities[0]} is alone; take embedding"
        )
    rooms = tables["MODALITIES"]
    read, filed = ([m for m in recipe.modalities if stated(rooms.get(m, ""), word)] for word in ("worded", "reads_files"))
    if recipe.teacher.source in ("folder", "hub") and (len(recipe.modalities), len(read), len(filed)) != (2, 1, 1):
        yield Fault(
            ("teacher", "source"),
            "of transformers' dual encoders those are built that read texts and pictures (CLIP, SigLIP) or texts and sounds (CLAP); the data has "
            f"{' and '.join(recipe.modalities)}; take fit",
        )
    if recipe.data.allow_missing:
        yield Fault(("data", "allow_missing"), f"a row of {recipe.data.task} is a pair, which lacks nothing; leave it out")
    if recipe.distill.augment.pairings:
        yield Fault(("distill", "augment", "pairings"), f"{recipe.data.task} is learnt from pairs that belong together; leave it out")
    if recipe.student.fusion != Fusion():
        yield Fault(("student", "fusion"), f"the towers of {recipe.data.task} are not joined; leave it out")
    if recipe.student.classifier == "teacher":
        yield Fault(("student", "classifier"), f"{recipe.data.task} has no classifier; leave it out")


def _check_places(recipe: Recipe, tables: Mapping[str, Mapping[str, str]]) -> Iterator[Fault]:
    """A fault for what cannot be where each place of a picture has an answer."""
    entry = tables["TASKS"].get(recipe.data.task)
    if not entry or not stated(entry, "dense"):
        return
    name, (m, *others) = recipe.data.task, recipe.modalities
    if others or not stated(tables["MODALITIES"].get(m, ""), "pixels"):
        yield Fault(("data", "inputs"), f"{name} reads pictures alone, found {' and '.join(recipe.modalities)}")
        return
    own = recipe.data.inputs.get(m)
    stride = recipe.data.task_options.get("stride", 8)
    if isinstance(stride, int) and (stride < 1 or own.size % stride):
        yield Fault(("data", "task_options", "stride"), f"{stride} does not divide the {own.size} pixels of a side; 4 and 8 are usual")
    words = recipe.distill.augment.get(m)
    for word in ("shift", "cutmix"):
        if words and getattr(words, word):
            why = "moves a picture by less than a place" if word == "shift" else "would need the masks cut as well"
            yield Fault(("distill", "augment", m, word), f"{why}, and {name} cannot; crop moves pictures and masks alike")
    if recipe.student.classifier == "teacher":
        yield Fault(("student", "classifier"), f"{name} has a head over maps, which ends in no layer of the teacher's; leave it out")


def check_unbuilt(data: dict[str, Any], tables: Mapping[str, Mapping[str, str]]) -> Iterator[Fault]:
    """A fault for a task or an input that has a name and no room."""
    section = data.get("data")
    asked = section.get("task") if isinstance(section, dict) else None
    inputs = section.get("inputs") if isinstance(section, dict) else None
    found: list[tuple[Place, str]] = [(("data", "task"), asked)] if isinstance(asked, str) and asked not in tables["TASKS"] else []
    found += [(("data", "inputs", name), name) for name in (inputs if isinstance(inputs, dict) else ()) if name not in tables["MODALITIES"]]
    ours = {alias: name for name, aliases in OTHER_NAMES.items() for alias in aliases}
    for place, name in found:
        if name in ours:
            yield Fault(place, f"{name} is called {ours[name]} here")
        if name in _NAMES:
            yield Fault(place, f"{_NAMES[name]} is not built; docs/guide.md says what it would need. See 'compress list tasks'")


def _task(data: dict[str, Any], tables: Mapping[str, Mapping[str, str]]) -> tuple[str, str | None]:
    """The name of the recipe's task and its entry in TASKS; None where it is none, which others say."""
    section = data.get("data")
    name = section.get("task", DEFAULT) if isinstance(section, dict) else DEFAULT
    return str(name), tables["TASKS"].get(name) if isinstance(name, str) else None
