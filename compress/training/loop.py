"""The training loop, the only one: a teacher's head, a student, its quantization-aware part all go through `train`.

AdamW, linear warm-up and cosine to zero, gradient clipping, best weights by validation, early stopping, checkpoints that a
killed run goes on from with the same numbers. All of it is on the device of `Context`, which nothing waits for but at a look now and then.
accelerate talks to the trackers, and needs no accelerator for that.
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from compress.context import Context
from compress.errors import CompressError, DependencyError
from compress.io_spec import Outputs
from compress.losses.objective import Objective
from compress.models.classifier import Classifier
from compress.placement import CPU, ask, device_of, place_to_train, training_precision
from compress.ranks.dealing import ask_all, gather_rows, sum_gradients
from compress.ranks.group import here
from compress.ranks.layers import over_ranks
from compress.recipe.schedule import total_steps
from compress.recipe.sections import Train
from compress.training.batches import Batch, Batches
from compress.training.checkpoint import agreed, load_checkpoint, save_checkpoint, seed_everything
from compress.training.choice import Choice

LOG_EVERY = 20  # steps between two scalars, and between two looks at whether the loss is a number, where a look waits for an accelerator
Perturb = Callable[[nn.Module, Batch, Objective, int, float], Batch]  # of a step and the share of all steps that is done
FUSED = ("cuda", "mps")  # devices whose AdamW is one kernel; a processor's is left as it is, so that trainings of before end alike
Scaler = torch.amp.GradScaler  # disabled, it lets everything pass
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class History:
    """What a training run tells afterwards; accuracies are shares (of another task: its mean gain), `curve` holds one entry a validation."""

    steps: int = 0
    planned_steps: int = 0
    best: float = -math.inf
    best_step: int = 0
    stopped_early: bool = False
    resumed_at: int = 0
    seconds: float = 0.0
    curve: list[dict] = field(default_factory=list)

    def to_json(self) -> dict:
        """Plain data."""
        return asdict(self)


def train(
    model: nn.Module,
    batches: Batches,
    *,
    objective: Objective,
    config: Train,
    ctx: Context,
    validate: Callable[[nn.Module], np.ndarray],
    label: str,
    freeze: tuple[float, Callable[[nn.Module], None]] | None = None,
    known: np.ndarray | None = None,
    gentle: tuple[float, Sequence[nn.Parameter]] = (1.0, ()),
    perturb: Perturb | None = None,
) -> History:
    """Trains `model` in place and leaves its best weights in it (choice.py). `freeze` is (share of the steps, what is then done to the model).

    `validate` gives gains (n,), how good the answer to each validation row is; `known` are those of a model that is good as it comes: then its
    first weights count among the best.
    `gentle`: a share of the rate, and the parameters that learn at it. `perturb`: what a batch becomes before the model sees it.
    """
    ranks = here()
    accelerator = Accelerator(log_with=(not ranks.rank and trackers(config)) or None, project_dir=str(ctx.out / "logs"), cpu=True)
    accelerator.init_trackers(label)
    seed_everything(ctx.seed)
    device, precision = torch.device(ctx.device), training_precision(config.precision, ctx.device)
    place_to_train(model, device)
    objective.to(device)
    groups = parameter_groups(nn.ModuleList([model, objective]), config.weight_decay, gentle)  # projections are trained like the model
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=device.type in FUSED or None)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    total = total_steps(config, batches.steps)
    start = History(planned_steps=total, best=-math.inf if known is None else float(known.mean()))
    run = _Run(model, objective, optimizer, scaler, start, Choice(known), ctx.out / "checkpoint" / f"{label}.pt")
    run.restore()
    whole = next((part for part in model.modules() if isinstance(part, Classifier)), None)  # encodes inputs once for all of their rows
    batches = batches.deal(whole.encoders if whole else ())
    if run.history.resumed_at:
        ctx.say(f"{label}: going on from step {run.history.resumed_at} of {total}")
    every = max(1, round(config.validate_every * batches.steps))
    frozen_from = math.ceil(freeze[0] * total) if freeze else total + 1
    started = saved = time.monotonic()
    with over_ranks(model, whole), ctx.progress(label, total, unit="steps", done=run.history.steps) as progress:
        note = ""
        for step in range(run.history.steps, 0 if run.history.stopped_early else total):
            if step % batches.steps == 0 or step == run.history.resumed_at:
                stream = batches.epoch(step // batches.steps, step % batches.steps)
            if freeze and step == frozen_from:
                freeze[1](model)
            set_rate(optimizer, config, step, total)
            logs, validates = step % LOG_EVERY == 0, (step + 1) % every == 0 or step + 1 == total
            saves = time.monotonic() - saved >= config.checkpoint_seconds
            batch, done = next(stream).to(device).heard(), step / max(1, total - 1)
            loss, parts = train_step(
                *(model, optimizer, perturb(model, batch, objective, step, done) if perturb else batch, objective, config),
                done=done,
                place=f"{label}: step {step}",
                scaler=scaler,
                precision=precision,
                look=device.type == CPU or logs or validates or saves,
            )
            run.history.steps = step + 1
            progress(1, note)
            if logs:
                accelerator.log(
                    {"loss": loss.item(), **{k: v.item() for k, v in parts.items()}, "rate": optimizer.param_groups[0]["lr"]}, step=step
                )
            if validates:
                run.validated(
                    np.asarray(ranks.same(validate(model).tolist())), loss.item(), {name: part.item() for name, part in parts.items()}
                )
                accuracy = run.history.curve[-1]["accuracy"]
                accelerator.log({"validation_accuracy": accuracy}, step=step)
                ctx.tell({"validation": {"training": label, "step": step + 1, "of": total, "accuracy": 100 * accuracy}})
                note = f"loss {loss.item():.3f}, best {100 * run.history.best:.2f} %"
                if config.patience and run.since_gain >= config.patience:
                    run.history.stopped_early = True
                    break
            if saves:
                run.save()
                saved = time.monotonic()
    run.history.seconds += time.monotonic() - started
    run.save()  # a stage that trains twice does not repeat this part
    for tracker in accelerator.trackers:  # not by end_training, which would end the group of processes, too
        tracker.finish()
    run.pair.load_state_dict(run.best_state)
    return run.history


class _Run:
    """The state of one training run that a checkpoint holds."""

    def __init__(
        self,
        model: nn.Module,
        objective: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: Scaler,
        history: History,
        choice: Choice,
        path: Path,
    ) -> None:
        self.pair = nn.ModuleList([model, objective])
        self.optimizer, self.scaler, self.history, self.choice, self.path = optimizer, scaler, history, choice, path
        self.device = device_of(model)
        self.best_state = copy_state(self.pair)
        self.since_gain = 0

    def validated(self, gains: np.ndarray, loss: float, terms: dict[str, float]) -> None:
        """Notes one validation, gains (n,), and keeps the weights where they are the choice."""
        accuracy, (stays, rose) = float(gains.mean()), self.choice.take(gains)
        self.since_gain = 0 if rose else self.since_gain + 1
        if stays:
            self.history.best, self.history.best_step = accuracy, self.history.steps
            self.best_state = copy_state(self.pair)
        self.history.curve.append({"step": self.history.steps, "accuracy": accuracy, "loss": loss, "terms": terms})

    def save(self) -> None:
        """Writes the checkpoint, in the first process."""
        if not here().rank:
            save_checkpoint(self.path, self.state(), self.device)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        state: dict[str, Any] = {"pair": self.pair.state_dict(), "optimizer": self.optimizer.state_dict(), "best": self.best_state}
        return state | {
            "scaler": self.scaler.state_dict(),
            "history": self.history.to_json(),
            "since_gain": self.since_gain,
            "choice": self.choice.state(),
        }

    def restore(self) -> None:
        """Puts the checkpoint's state back, if there is one; of several processes all start with what the first one has."""
        state = load_checkpoint(self.path, self.device)
        if here().world > 1:
            state = agreed(state or self.state(), self.device)
        if state is None:
            return
        self.pair.load_state_dict(state["pair"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state.get("scaler", {}))
        self.best_state, self.since_gain = state["best"], state["since_gain"]
        self.choice.restore(state["choice"])
        self.history = History(**state["history"])
        self.history.resumed_at = self.history.steps


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    objective: Objective,
    config: Train,
    *,
    done: float,
    place: str,
    scaler: Scaler,
    precision: str = "fp32",
    look: bool = True,
) -> tuple[torch.Tensor, dict]:
    """One step on one batch, on the batch's device, after the share `done` of all steps: the loss before it, and its terms.

    `look`: see to it that the loss is a number, which waits for the device. One that is not makes all later ones like it, so it is found
    a few steps later.
    """
    model.train()
    with layers_in(precision, batch.labels.device):
        outputs = ask_all(model, batch.inputs, batch.rows, batch.parts)
    outputs = outputs.map(lambda x: x.float()) if precision in AUTOCAST else outputs
    loss, parts = objective(outputs, batch.teacher, batch.labels, batch.mixed, done=done, shift=batch.shift, answered=batch.answered)
    if look and not torch.isfinite(loss):
        raise CompressError(f"{place}: {describe_fault(parts, outputs, batch.teacher, batch.index)}; {way_out(config)}")
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    sum_gradients(model.parameters(), objective.parameters())
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_([*model.parameters(), *objective.parameters()], config.gradient_clip)
    scaler.step(optimizer)
    scaler.update()
    return loss.detach(), parts


def layers_in(precision: str, device: torch.device) -> AbstractContextManager:
    """Inside, layers calculate in that precision. By torch and not by accelerate, whose precision is one for all of a process's trainings."""
    return torch.autocast(device.type, dtype=AUTOCAST[precision]) if precision in AUTOCAST else nullcontext()


def describe_fault(parts: dict[str, torch.Tensor], student: Outputs, teacher: Outputs | None, index: np.ndarray) -> str:
    """Which terms are no number any more, and in which training rows; index: (R,) row numbers."""
    terms = ", ".join(f"{name} {part.item()}" for name, part in parts.items() if not torch.isfinite(part)) or "their weighted sum"
    sides = {"student": student, "teacher": teacher or Outputs(None)}
    for who, outputs in sides.items():
        bad = [~torch.isfinite(x).flatten(1).all(1).cpu().numpy() for x in (*outputs[:2], *(outputs.taps or {}).values()) if x is not None]
        rows = index[np.logical_or.reduce(bad)] if bad else index[:0]
        if len(rows):
            return f"the loss is no number ({terms}); the {who} gives none in {len(rows)} of {len(index)} rows, such as {rows[:5].tolist()}"
    return f"the loss is no number ({terms}), though student and teacher are, in {len(index)} rows, such as {index[:5].tolist()}"


def way_out(config: Train) -> str:
    """What helps against a training that runs away."""
    return f"lower learning_rate (now {config.learning_rate:g}) or raise warmup_fraction"


@torch.no_grad()
def predict(model: nn.Module, batches: Batches) -> np.ndarray:
    """Logits of every row, in the rows' order: (R, K) float32. Leaves the model's mode as it was. Several processes take turns with batches."""
    was_training, ranks, found = model.training, here(), []
    if not batches.steps:
        raise CompressError("there are no rows to predict")
    model.eval()
    for batch in batches.epoch(0, ranks.rank, ranks.world):
        found.append((batch.index, ask(model, batch.inputs, batch.rows).logits.float().cpu()))
    model.train(was_training)
    return gather_rows(found, batches.order, len(batches.data.labels)).numpy()


def set_rate(optimizer: torch.optim.Optimizer, config: Train, step: int, total: int) -> None:
    """Linear from 0 over the warm-up, then rate * (1 + cos(pi * share)) / 2; a function of the step alone, so nothing needs saving."""
    warmup = max(1, round(config.warmup_fraction * total))
    share = (step + 1) / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * share * group.get("share", 1.0)


def parameter_groups(model: nn.Module, weight_decay: float, gentle: tuple[float, Sequence[nn.Parameter]] = (1.0, ())) -> list[dict]:
    """Matrices decay; biases, normalisation and other vectors do not. Those of `gentle` learn at its share of the rate."""
    own, chosen = {id(p) for p in gentle[1]}, [p for p in model.parameters() if p.requires_grad]
    parts = [(1.0, [p for p in chosen if id(p) not in own]), (gentle[0], [p for p in chosen if id(p) in own])]
    return [
        {"params": [p for p in part if (p.ndim > 1) == matrix], "weight_decay": weight_decay if matrix else 0.0, "share": share}
        for share, part in parts[: 2 if own else 1]
        for matrix in (True, False)
    ]


def copy_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights and buffers, detached from training."""
    return {k: v.detach().clone() for k, v in model.state_dict().items()}


def trackers(config: Train) -> list[str]:
    """The recipe's trackers; one that is not installed is an error before the first step."""
    for name in config.trackers:
        if importlib.util.find_spec(name) is None:
            raise DependencyError(f"train.trackers: {name!r} is not installed; 'pip install {name}' or take it off the list")
    return list(config.trackers)
