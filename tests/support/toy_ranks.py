"""One process of several that train a toy: `python toy_ranks.py NAMES FOLDER` in the environment of a launcher; the first prints what came out, as JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compress.context import Context
from compress.io_spec import Outputs
from compress.losses.objective import Objective
from compress.models.classifier import Classifier, Head, RowModel
from compress.models.layers import ConvNorm, Pixels
from compress.models.numbers import Perceptron
from compress.models.taps import attach_taps
from compress.quantizers import calibrate, freeze_ranges, prepare
from compress.ranks import group as ranks
from compress.recipe.sections import Loss, Quantize, Train
from compress.recipe.terms import Adversarial
from compress.training.adversarial import against
from compress.training.batches import Batches, LiveTeacher, Rows
from compress.training.loop import predict, train
from compress.training.views import Views

IMAGES, ROWS, CLASSES = 26, 60, 3
ACROSS_ROWS = ("dist", "rkd_distance", "similarity", "contrastive")  # losses that compare rows, beside those that do not
LIVE = LiveTeacher(lambda inputs, rows: Outputs(by_hand(inputs["image"])[rows["image"]]), {})


class Words(nn.Module):
    """Token ids (N, 5) -> (N, 8), with dropout of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.dropout, self.last, self.width = nn.Embedding(12, 4), nn.Dropout(0.2), nn.Linear(20, 8), 8

    def forward(self, text: Tensor) -> Tensor:
        return self.last(self.dropout(self.table(text)).flatten(1))


class ByRow(RowModel):
    """A model that lays its rows out first, with a batch norm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(20, 8, bias=False), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, CLASSES))
        self.table = nn.Embedding(12, 4)

    def classify(self, inputs: dict[str, Tensor]) -> Outputs:
        return Outputs(self.body(self.table(inputs["text"]).flatten(1)))


def by_hand(images: Tensor) -> Tensor:
    """A teacher's answers (N, CLASSES) that depend on every pixel."""
    return images.float().flatten(1).view(len(images), CLASSES, -1).mean(2) / 30


def toy(name: str) -> tuple[Any, Rows]:
    """A student of three modalities, of which two have batch norms, and its rows; few texts are different."""
    torch.manual_seed(0)
    image = nn.Sequential(Pixels((0.5,) * 3, (0.2,) * 3), ConvNorm(3, 8, kernel=3, stride=4), ConvNorm(8, 8, relu=False), nn.Flatten())
    head = Head({"image": 32, "text": 8, "numbers": 8}, hidden=8, classes=CLASSES, dropout=0.2)
    model: Any = Classifier({"image": image, "text": Words(), "numbers": Perceptron(4, width=8, depth=1)}, head)
    rng = np.random.default_rng(0)
    inputs = {
        "image": rng.integers(0, 256, (IMAGES, 8, 8, 3)).astype(np.uint8),
        "text": rng.integers(0, 12, (2 if name == "few" else 9, 5)),
        "numbers": rng.normal(size=(11, 4)).astype(np.float32),
    }
    owner = np.sort(np.concatenate([np.arange(IMAGES), rng.integers(0, IMAGES, ROWS - IMAGES)]))
    which = {"image": owner, **{m: rng.integers(0, len(inputs[m]), ROWS) for m in ("text", "numbers")}}
    labels, views = rng.integers(0, CLASSES, ROWS), Views("image", ((), (0, 1, True, 0, 1.0, 0.0, 0.0, 0.0)))
    hidden = {"embedding": rng.normal(size=(2, ROWS, 8)).astype(np.float16), "inside": rng.normal(size=(2, ROWS, 8)).astype(np.float16)}
    if name == "live":
        return model, Rows(inputs, which, labels, live=LiveTeacher(LIVE.call, inputs))
    if name == "rows":
        return ByRow(), Rows(inputs, which, labels)
    rows = Rows(inputs, which, labels, rng.normal(size=(2, ROWS, CLASSES)).astype(np.float16), views, hidden=hidden)
    if name == "quantized":
        model = prepare(model, Quantize())
        calibrate(model, ((batch.inputs, batch.rows) for batch in Batches(rows, 8).epoch(0)))
    return model, rows


def losses(name: str) -> list[Loss]:
    """Some that read one row at a time, and all kinds that compare rows."""
    chosen = [Loss(name="cross_entropy")]
    if name in ("plain", "few", "attacked", "quantized", "killed"):
        chosen += [Loss(name="kd"), *(Loss(name=one) for one in ACROSS_ROWS)]
    if name == "plain":
        chosen.append(Loss(name="cosine", options={"tap": "inside"}))
    return chosen + ([Loss(name="kd")] if name == "live" else [])


def train_toy(name: str, out: Path) -> dict[str, Any]:
    """What a training ended with."""
    model, rows = toy(name)
    if name == "plain":
        attach_taps(model, {"inside": ("encoders.image.1", "vector")}, side="student")
    check = Batches(Rows(rows.inputs, rows.rows, rows.labels), 7, shuffle=False)
    objective, told = Objective(losses(name), widths={"embedding": (8, 8), "inside": (8, 8)}), []

    class Killed(Objective):
        def forward(self, *arguments: Any, **keywords: Any) -> Any:
            told.append(1)
            if len(told) == 5 and ranks.here().rank == int(os.environ.get("KILLED", -1)):
                os.kill(os.getpid(), signal.SIGKILL)
            return super().forward(*arguments, **keywords)

    if name == "killed":
        objective = Killed(losses(name), widths={"embedding": (8, 8)})
    history = train(
        model,
        Batches(rows, 8, seed=3),
        objective=objective,
        config=Train(epochs=2, batch_size=8, validate_every=0.3, checkpoint_seconds=0, trackers=[]),
        ctx=Context(out, seed=3, say=lambda line: None),
        validate=lambda m: (predict(m, check).argmax(1) == rows.labels).astype(np.float64),
        label="toy",
        freeze=(0.6, freeze_ranges) if name == "quantized" else None,
        perturb=against(Adversarial(epsilon=8, steps=2, share=0.5), "image", 3) if name == "attacked" else None,
    )
    state = {key: value for key, value in model.state_dict().items() if value.is_floating_point()}
    return {
        "curve": [point["loss"] for point in history.curve],
        "terms": [point["terms"] for point in history.curve],
        "accuracy": [point["accuracy"] for point in history.curve],
        "weights": {key: value.flatten().tolist() for key, value in state.items()},
        "resumed_at": history.resumed_at,
    }


def main(names: list[str], out: Path) -> None:
    """Trains each with as many processes as the launcher started."""
    ranks.BEAT_S, ranks.SILENT_S, ranks.GRACE_S = 0.1, 5.0, 0.3
    torch.set_num_threads(1)
    group = ranks.join()
    with group.session() if group else nullcontext(), ranks.acting(group.ranks) if group else nullcontext():
        with group.folder() if group and group.rank else nullcontext(out) as folder:
            found = {name: train_toy(name, folder / name) for name in names}
            if found != ranks.here().same(found):
                raise RuntimeError("the processes ended with different weights")
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1].split(","), Path(sys.argv[2]))
