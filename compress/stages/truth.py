"""Stage `truth`: the data with the teacher's answers in the place of labels that nobody has given to validation and test (data.judge: teacher).

All later stages take these data for the data, so that nothing in them need know of it: shares of right answers are shares of answers as the
teacher's, and the task's measure is called so.
"""

from __future__ import annotations

import os
import shutil

import numpy as np

from compress.context import Context
from compress.data.prepare import write_report
from compress.data.prepared import PreparedData
from compress.recipe.recipe import Recipe
from compress.store.artifacts import DataArtifact, TorchModel
from compress.tasks.labels import known
from compress.training.answers import answers_to

JUDGED = ("validation", "test")


def judge_by_teacher(recipe: Recipe, teacher: TorchModel, data: PreparedData, *, ctx: Context) -> DataArtifact:
    """The data again, files shared with those before, whose validation and test rows are labelled as the teacher answers them."""
    report = {**data.report, "facts": {**data.report["facts"], "judge": "teacher"}, "splits": dict(data.report["splits"])}
    told = []
    for name in ("train", *JUDGED):
        shutil.copytree(data.path / name, ctx.out / name, copy_function=os.link, ignore=shutil.ignore_patterns("labels.npy"))
    shutil.copyfile(data.path / "train" / "labels.npy", ctx.out / "train" / "labels.npy")
    for name in JUDGED:
        split = data.split(name)
        labels = data.task.answers(answers_to(split, teacher, device=ctx.device)).astype(split.labels.dtype)
        answered = known(labels)
        np.save(ctx.out / name / "labels.npy", labels)
        counts = {"labelled_rows": int(answered.sum()), "unlabelled_rows": int((~answered).sum())}
        report["splits"][name] = {**report["splits"][name], **counts, **data.task.account(labels[answered], data.labels)}
        told.append(f"{counts['labelled_rows']:,} of {len(split):,} {name} rows")
    if data.paraphrases:
        shutil.copyfile(data.path / "paraphrases.json", ctx.out / "paraphrases.json")
    report = write_report(ctx.out, {"labels": data.labels, "kinds": data.kinds, "slices": data.slices}, report)
    ctx.say(f"truth: the teacher's answers are the labels of {' and '.join(told)}")
    return DataArtifact(details=report)
