"""A teacher that writes: a language model, with or without eyes, that is asked once about every row and answers with the likelihood of each label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from compress.modalities.modality import modality
from compress.models.generative import Scorer, open_scorer
from compress.models.hub import fetch
from compress.models.saved import count_parameters
from compress.recipe.cost import passes
from compress.stages.teacher.heard import judge, validation_words
from compress.store.arrays import allocate, note_progress, read_progress
from compress.store.artifacts import CHECKPOINT, TorchModel
from compress.tasks.labels import known
from compress.training.rows import model_io

if TYPE_CHECKING:
    from compress.context import Context
    from compress.data.prepared import PreparedData, Split
    from compress.recipe.recipe import Recipe

SAVED = 32  # answers between two that a killed run goes on from


def from_generative(recipe: Recipe, data: PreparedData, ctx: Context) -> TorchModel:
    """answers-SPLIT.npy: (R, K) float32 logits, the mean log-probability of each label's tokens, of all rows of each split."""
    config = recipe.teacher
    folder = fetch(str(config.id), str(config.revision)) if config.id else ctx.base / str(config.path)
    words = [config.labels.get(label, label) for label in data.labels]
    scorer = open_scorer(folder, words, sees=config.source == "vlm", device=ctx.device)
    asked = {split: different(data.split(split), recipe) for split in ("train", "validation", "test")}
    count = sum(len(places) for places, _ in asked.values())
    ctx.say(f"teacher: {count:,} different prompts, {len(words)} labels: at most {passes(count, len(words)):,} forward passes")
    out = {}
    with ctx.progress("teacher", count, unit="prompts") as tell:
        for split, (places, inverse) in asked.items():
            out[split] = answer(scorer, data.split(split), places, recipe, ctx, tell)[inverse]
            np.save(ctx.out / f"answers-{split}.npy", out[split])
    labels = np.asarray(data.split("validation").labels)
    there = known(labels)
    facts, metrics = judge(out["validation"][there], labels[there], data) if there.any() else ({}, {})
    parameters = count_parameters(scorer.model)
    ctx.say(f"teacher: {parameters / 1e6:.1f} M parameters, asked once for each row; {validation_words(metrics, data)}")
    details = {"source": config.source, "parameters": parameters, "facts": facts, "prompt": config.prompt, "prompts": count}
    return TorchModel(io_spec=model_io(data, recipe.data.inputs.get, None), metrics=metrics, details=details)


def different(split: Split, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """(N, M) the inputs of each different question, one index a modality in the recipe's order, and (R,) which question a row asks."""
    keys = np.stack([np.asarray(split.rows[m]) for m in recipe.modalities], 1)
    places, inverse = np.unique(keys, axis=0, return_inverse=True)
    return places, inverse.reshape(-1)


def answer(scorer: Scorer, split: Split, places: np.ndarray, recipe: Recipe, ctx: Context, tell: Any) -> np.ndarray:
    """(N, K) float32 logits of the questions `places`, written as they come, so that a killed run goes on where it was."""
    texts = {m: split.teacher_inputs[m].to_pylist() for m in recipe.modalities if modality(m).worded}
    path = ctx.out / CHECKPOINT / f"answers-{split.name}.npy"
    progress = path.with_suffix("")
    path.parent.mkdir(exist_ok=True)
    done = read_progress(progress)
    out = np.lib.format.open_memmap(path, mode="r+") if done else allocate(path, (len(places), len(scorer.labels)), np.float32)
    tell(done)
    for number in range(done, len(places)):
        asked, image = str(recipe.teacher.prompt), None
        for m, index in zip(recipe.modalities, places[number], strict=True):
            if m in texts:
                asked = asked.replace(f"{{{m}}}", texts[m][index])
            else:
                image = np.asarray(split.teacher_inputs[m][index])
        out[number] = scorer.score(asked, image)
        tell(1)
        if (number + 1) % SAVED == 0 or number + 1 == len(places):
            out.flush()
            note_progress(progress, number + 1)
    return np.array(out)
