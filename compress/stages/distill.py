"""Stage `distill`: the student, started from the teacher's text layers, trained on labels and on the teacher's answers."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from compress.artifacts import Targets, TorchModel
from compress.context import Context
from compress.data.prepared import PreparedData
from compress.data.tokens import padding_id, trim_vocabulary, unknown_rate, vocabulary_size
from compress.data.wordings import read_wordings
from compress.errors import DataError
from compress.io_spec import IOSpec, io_spec
from compress.losses.objective import Objective
from compress.models.inherit import inherit_text
from compress.models.saved import count_parameters, load_model, save_model, tokenizer_of
from compress.models.student import student as build_student
from compress.recipe import Recipe
from compress.training.batches import Batches, Rows, labelled_batches
from compress.training.checkpoint import seed_everything
from compress.training.loop import History, accuracy, predict, train
from compress.training.rows import in_other_words, open_rows, training_rows


def distill(recipe: Recipe, teacher: TorchModel, targets: Targets, data: PreparedData, *, ctx: Context) -> TorchModel:
    """The trained student as a model folder, with its histories and what the teacher was worth on validation."""
    assert teacher.path
    kept, vocabulary = make_vocabulary(recipe, teacher.path, targets, data, ctx.out)
    size = recipe.data.image_size if recipe.student.image else None
    io = io_spec(image_size=size, text_length=recipe.data.text_length, vocabulary=len(kept) or None, classes=len(data.labels))
    details: dict = {"vocabulary": vocabulary}
    model, details["inherited"] = new_student(recipe, io, teacher.path, kept, ctx.seed)
    rows = training_rows(data.split("train"), io, targets, tokenizer=tokenizer_of(ctx.out))
    check = Batches(open_rows(data.split("validation"), io, tokenizer=tokenizer_of(ctx.out)), 512, shuffle=False)
    details["parameters"] = count_parameters(model)
    ctx.say(
        f"distill: student of {details['parameters']:,} parameters, {len(rows.labels):,} rows, {int((rows.labels < 0).sum()):,} of them unlabelled"
    )
    details["history"] = run(recipe, model, rows, check, ctx, "student").to_json()
    save_student(model, ctx.out, recipe, io)
    if recipe.distill.compare_alone:
        alone, _ = new_student(recipe, io, teacher.path, kept, ctx.seed)
        details["history_alone"] = run(recipe, alone, replace(rows, targets=None), check, ctx, "alone").to_json()
        labelled, reworded = int((check.data.labels >= 0).sum()), score_reworded(model, alone, check.data, data, io, tokenizer_of(ctx.out))
        details["comparison"] = compare(details["history"]["best"], details["history_alone"]["best"], labelled, reworded)
        ctx.say(f"distill: {details['comparison']['sentence']}")
        save_student(alone, ctx.out / "alone", recipe, io)
    best = details["history"]["best"]
    samples = int((check.data.labels >= 0).sum())
    return TorchModel(io_spec=io, metrics={"validation_accuracy": {"value": 100 * best, "unit": "%", "samples": samples}}, details=details)


def save_student(model: nn.Module, folder: Path, recipe: Recipe, io: IOSpec) -> None:
    """The student as a model folder; its tokenizer.json lies in the artifact's own folder."""
    folder.mkdir(exist_ok=True)
    save_model(model, folder, name="student", options={"config": recipe.student.model_dump(mode="json")}, io=io)


def run(recipe: Recipe, model: nn.Module, rows: Rows, check: Batches, ctx: Context, label: str) -> History:
    """One training of the student; without targets, on the labelled rows alone."""
    with_teacher = rows.targets is not None
    config = recipe.distill.train
    batches = Batches(rows, config.batch_size, seed=ctx.seed)
    if not with_teacher:
        batches, config = labelled_batches(rows, config, seed=ctx.seed)
    return train(
        model,
        batches,
        objective=Objective(recipe.distill.losses, with_teacher=with_teacher),
        config=config,
        ctx=ctx,
        validate=lambda m: accuracy(predict(m, check), check.data.labels),
        label=label,
    )


def new_student(recipe: Recipe, io: IOSpec, teacher: Path, kept: list[int], seed: int) -> tuple[nn.Module, dict | None]:
    """A fresh student, its text layers picked from the teacher's where the recipe says so."""
    seed_everything(seed)
    model = build_student(io, config=recipe.student.model_dump(mode="json"))
    if recipe.student.text is None or recipe.student.text.initialise == "random":
        return model, None
    encoder: Any = model.encoders["text"]
    return model, inherit_text(encoder, load_model(teacher), kept)


def make_vocabulary(recipe: Recipe, teacher: Path, targets: Targets, data: PreparedData, out: Path) -> tuple[list[int], dict | None]:
    """Writes the student's tokenizer.json; gives the teacher's id of each of its tokens, and what trimming saved."""
    if recipe.student.text is None:
        return [], None
    source, target = teacher / "tokenizer.json", out / "tokenizer.json"
    size = vocabulary_size(source)
    if recipe.student.text.vocab == "full":
        if padding_id(source):
            raise DataError(
                f"{source}: its padding token has id {padding_id(source)}, a student needs 0; student.text.vocab: task makes it so"
            )
        shutil.copyfile(source, target)
        kept = list(range(size))
    else:
        assert targets.path
        wordings = read_wordings(targets.path)
        texts = [*data.split("train").inputs["text"].to_pylist(), *(wordings.texts.to_pylist() if wordings else [])]
        kept = trim_vocabulary(source, texts, target)
    validation = data.split("validation").inputs["text"].to_pylist()
    saved = (size - len(kept)) * recipe.student.text.width
    report = {
        "tokens": len(kept),
        "teacher_tokens": size,
        "saved_parameters": saved,
        "unknown_rate_validation": unknown_rate(target, validation),
        "unknown_rate_paraphrases": unknown_rate(target, data.paraphrases.values()) if data.paraphrases else None,
    }
    return kept, report


def score_reworded(
    distilled: nn.Module, alone: nn.Module, rows: Rows, data: PreparedData, io: IOSpec, tokenizer: Path | None
) -> dict | None:
    """{"distilled", "alone", "texts"}: right answers to the validation rows that have a paraphrase, in its words; None where there is none."""
    if not data.paraphrases or "text" not in io.modalities:
        return None
    rows, keep = in_other_words(rows, data.split("validation"), data.paraphrases, io, tokenizer)
    if not keep.any():
        return None
    batches, texts = Batches(rows, 512, shuffle=False, keep=keep), len(np.unique(rows.rows["text"][keep]))
    scores = {name: accuracy(predict(m, batches)[keep], rows.labels[keep]) for name, m in (("distilled", distilled), ("alone", alone))}
    return {**scores, "texts": texts}


def compare(distilled: float, alone: float, samples: int, reworded: dict | None = None) -> dict:
    """What the teacher was worth on validation, from shares of `samples` rows, and of questions in other words: see `score_reworded`.

    Gains beyond the 95 % noise of a difference of two such shares count; rows that ask the same words are one sample.
    """
    gain, noise = gain_and_noise(distilled, alone, samples)
    if gain > noise:
        verdict, words = "helps", "the teacher helps"
    elif gain < -noise:
        verdict, words = "hurts", "the teacher does harm: train without it"
    else:
        verdict, words = "no difference", "the student alone would do as well"
    sentence = (
        f"validation {100 * distilled:.2f} % with the teacher, {100 * alone:.2f} % alone ({gain:+.2f} points, noise {noise:.2f}): {words}"
    )
    if reworded:
        more, doubt = gain_and_noise(reworded["distilled"], reworded["alone"], reworded["texts"])
        if verdict == "no difference" and more > doubt:
            verdict, sentence = "helps", f"{sentence} on questions in the data's own words"
        sentence += (
            f"; in other words {100 * reworded['distilled']:.1f} % with the teacher, {100 * reworded['alone']:.1f} % alone "
            f"({more:+.1f} points on {reworded['texts']} questions, noise {doubt:.1f})"
        )
    return {
        "distilled": distilled,
        "alone": alone,
        "gain_points": gain,
        "noise_points": noise,
        "samples": samples,
        "reworded": reworded,
        "verdict": verdict,
        "sentence": sentence,
    }


def gain_and_noise(distilled: float, alone: float, samples: int) -> tuple[float, float]:
    """The difference of two shares of `samples` in points, and 1.96 times its deviation."""
    return 100 * (distilled - alone), 196 * ((distilled * (1 - distilled) + alone * (1 - alone)) / samples) ** 0.5
