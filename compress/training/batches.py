"""Batches in which each distinct input stands once: rows are grouped by their first modality, such as the image.

A batch takes some of the grouping inputs with all their rows; every other modality keeps its distinct inputs among these
rows. So an image with ten questions is encoded once, and so is a question about fifty images. No Python runs per row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from torch import Tensor

from compress.context import Context
from compress.errors import RecipeError
from compress.io_spec import PRESENT, Head, Outputs
from compress.modalities.draws import uniforms
from compress.placement import move
from compress.ranks.dealing import ROWS, Parts, gather, own_of, part_of
from compress.ranks.group import here
from compress.recipe.schedule import fit_schedule, pass_steps, schedule_line
from compress.recipe.sections import Train
from compress.tasks.labels import known, unlabelled
from compress.training.views import Views

INFERENCE_BATCH = 50  # grouping inputs a call without gradients; larger ones ran no faster on a CPU


@dataclass(frozen=True)
class LiveTeacher:
    """A teacher that answers while a student is trained: its call, and the distinct inputs as it reads them."""

    call: Callable[[dict[str, Tensor], dict[str, Tensor]], Outputs]
    inputs: dict[str, np.ndarray]


@dataclass(frozen=True)
class Rows:
    """What a training or validation reads: arrays that may be memory-mapped.

    inputs[m]: (N_m, ...) distinct inputs; rows[m]: (R,) which one row r uses; labels: (R, ...), see compress/tasks/labels.py, (R, S, S)
    where they are of places of the grouping inputs;
    targets: (V, R, K) float16 teacher logits of each view, or None; hidden[tap]: (V, R, D) float16, its hidden states where a loss
    compares them; views: the variants of the grouping inputs; live: the teacher itself, which then answers the very variant that the
    student sees.
    """

    inputs: dict[str, np.ndarray]
    rows: dict[str, np.ndarray]
    labels: np.ndarray
    targets: np.ndarray | None = None
    views: Views = Views()
    live: LiveTeacher | None = None
    hidden: dict[str, np.ndarray] = field(default_factory=dict)
    strata: np.ndarray | None = None  # (R,) int, drawn evenly: see compress/training/imbalance.py
    shift: np.ndarray | None = None  # (K,) what losses on labels see added to the logits
    answered: np.ndarray | None = None  # (R,) bool: the rows that `targets` are the teacher's answers to; None: all
    heads: tuple[Head, ...] = ()  # of labels and logits, where there are several
    agreed: np.ndarray | None = None  # (R,) float32 in 0 to 1: how often a row's answer is heard, drawn by pass and row; None: always

    @property
    def group(self) -> str:
        """The modality that groups the rows: the first."""
        return next(iter(self.rows))


@dataclass(frozen=True)
class Batch:
    """inputs[m]: (n_m, ...); rows[m]: (r,) int64 into them; labels: (r, ...) int64 or float32; teacher: its logits (r, K) and hidden
    states, float32;
    index: (r,) row numbers; grouping: (n,) numbers of the grouping inputs. mixed: where each input was mixed with another, the labels
    of these (r, ...), and the share of `labels`. shift: (K,) what the loss on labels adds to the logits. answered: (r,) bool, the rows that
    the teacher answered; None: all."""

    inputs: dict[str, Tensor]
    rows: dict[str, Tensor]
    labels: Tensor
    teacher: Outputs | None
    index: np.ndarray
    grouping: np.ndarray
    mixed: tuple[Tensor, float] | None = None
    shift: Tensor | None = None
    answered: Tensor | None = None
    parts: Parts | None = None  # what of it this process has of a batch that several are dealt: inputs of a modality, rows of `teacher`

    def to(self, device: torch.device) -> Batch:
        """The same with its tensors on another device."""
        places = {f.name: move(getattr(self, f.name), device) for f in fields(self) if f.name not in ("index", "grouping", "parts")}
        return replace(self, **places)

    def heard(self) -> Batch:
        """The same with the teacher's answers to all rows, those of a batch that is dealt too."""
        if self.parts is None or self.teacher is None:
            return self
        own = self.parts[ROWS]
        return replace(self, teacher=self.teacher.map(lambda x: gather(x, own)))


class Batches:
    """Deals out the batches of one `Rows`; which rows a step sees depends on seed, epoch and step alone, so a resumed run sees the same."""

    def __init__(
        self, data: Rows, batch_size: int, *, seed: int = 0, shuffle: bool = True, keep: np.ndarray | None = None, hide: float = 0.0
    ) -> None:
        self.data, self.batch_size, self.seed, self.shuffle, self.hide = data, batch_size, seed, shuffle, hide
        owner = np.asarray(data.rows[data.group])
        chosen = np.arange(len(owner)) if keep is None else np.flatnonzero(keep)
        order = chosen[np.argsort(owner[chosen], kind="stable")]  # rows, input by input
        self.order = order
        self.groups, starts = np.unique(owner[order], return_index=True)  # grouping inputs that have rows
        self.starts = np.append(starts, len(order))
        self.dealt: tuple[str, ...] | None = None  # modalities of which this process has its part; None: a batch is whole
        self.odds = None
        if data.strata is not None and shuffle:
            self.odds = even_odds(data.strata[order], np.repeat(np.arange(len(self.groups)), np.diff(self.starts)))

    @property
    def steps(self) -> int:
        """Batches of one pass: when shuffled the incomplete last one is dropped, unless it is the only one."""
        return pass_steps(len(self.groups), self.batch_size) if self.shuffle else -(-len(self.groups) // self.batch_size)

    def deal(self, modalities: Iterable[str]) -> Batches:
        """The same, of which the processes that work together have a part each: of the rows, and of the inputs of these modalities.

        Raises: RecipeError where a batch has fewer inputs than there are processes.
        """
        world, least = here().world, min(self.batch_size, len(self.groups))
        if world == 1:
            return self
        if least < world:
            raise RecipeError(f"train.batch_size: a batch of {least} inputs cannot be dealt to {world} processes; start {least} at most")
        own = copy(self)
        own.dealt = tuple(modalities)
        return own

    def epoch(self, epoch: int, first_step: int = 0, every: int = 1) -> Iterator[Batch]:
        """The batches of one pass from `first_step` on, or `every` second one, third one and so on of them."""
        places = np.arange(len(self.groups))
        if self.odds is not None:
            places = np.random.default_rng((self.seed, epoch)).choice(places, size=len(places), p=self.odds)
        elif self.shuffle:
            np.random.default_rng((self.seed, epoch)).shuffle(places)
        for step in range(first_step, self.steps, every):
            yield self.collect(places[step * self.batch_size : (step + 1) * self.batch_size], epoch, step)

    def collect(self, places: np.ndarray, epoch: int = 0, step: int = 0) -> Batch:
        """The batch of the grouping inputs at `places`."""
        data, counts = self.data, np.diff(self.starts)[places]
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        index = self.order[np.repeat(self.starts[places], counts) + offsets]  # (r,) row numbers
        view, owners = np.zeros(len(places), np.int64), self.groups[places]
        fresh = self.shuffle and data.targets is None and bool(data.views.fresh)
        draw, mixture, partners = np.random.default_rng((self.seed, epoch, step)), (), owners
        if fresh:
            mixture, partners = data.views.mixture(draw), draw.permutation(len(places))
        elif self.shuffle and len(data.views) > 1:
            view = draw.integers(len(data.views), size=len(places))
        labels, mixed, share = np.asarray(data.labels[index]), None, 1.0
        if labels.ndim == 3:  # of places of the grouping inputs, which go where the places go
            moved = np.repeat(owners, counts)
            labels = data.views.carry_fresh(labels, epoch, moved) if fresh else data.views.carry(labels, np.repeat(view, counts), moved)

        def read(array: np.ndarray, m: str, which: np.ndarray) -> Tensor:
            """Distinct inputs (n, ...) of modality m, by their numbers (n,); of the grouping one by places (n,) of the batch, in their variant."""
            nonlocal share
            if m != data.group:
                return torch.from_numpy(take(array, which))
            if mixture:  # with inputs that another process has
                whole = data.views.refresh(torch.from_numpy(take(array, owners)), epoch, owners)
                whole, share = data.views.mix(whole, partners, mixture)
                return whole[torch.from_numpy(which)]
            values, numbers = torch.from_numpy(take(array, owners[which])), owners[which]
            if fresh:
                return data.views.refresh(values, epoch, numbers)
            return data.views.apply(values, view[which], numbers) if view.any() else values

        parts: Parts | None = None if self.dealt is None else {ROWS: part_of(len(index))}
        inputs, rows, distinct = {}, {}, {}
        for m, which in data.rows.items():
            if m == data.group:
                distinct[m], inverse = np.arange(len(places)), np.repeat(np.arange(len(places)), counts)
            else:
                distinct[m], inverse = np.unique(which[index], return_inverse=True)
            rows[m] = torch.from_numpy(inverse.astype(np.int64))
            if parts is not None and m in (self.dealt or ()):
                parts[m] = part_of(len(distinct[m]))
            inputs[m] = read(data.inputs[m], m, distinct[m][own_of(parts, m)])
        if mixture:
            labels, others = pair_labels(labels, partners, counts)
            mixed = as_tensor(others), share
        own, teacher = own_of(parts, ROWS), None  # of the teacher's answers only these are read: see `Batch.heard`
        if data.targets is not None:
            stored, views = {"logits": data.targets, **data.hidden}, np.repeat(view, counts)[own]
            teacher = Outputs.of({name: torch.from_numpy(array[views, index[own]].astype(np.float32)) for name, array in stored.items()})
        if data.live:
            seen, asked = {}, {}
            for m in data.rows:  # the teacher sees what the student sees
                used, place = np.unique(rows[m][own].numpy(), return_inverse=True)
                seen[m], asked[m] = read(data.live.inputs[m], m, distinct[m][used]), torch.from_numpy(place.astype(np.int64))
            with torch.no_grad():
                teacher = data.live.call(seen, asked)
        if self.shuffle and self.hide:  # from the student alone: the teacher answers what the row holds
            present = np.asarray(data.inputs[PRESENT])[np.asarray(data.rows[PRESENT])[index]]  # (r, M)
            rows[PRESENT] = torch.arange(len(index))
            if parts and PRESENT in parts:  # an input for each row
                parts[PRESENT] = parts[ROWS]
            left = hide(present, self.hide, seed=self.seed, epoch=epoch, index=index)[own_of(parts, PRESENT)]
            inputs[PRESENT] = torch.from_numpy(left)
        shift = None if data.shift is None else torch.from_numpy(data.shift.astype(np.float32))
        answered = None if data.answered is None or data.targets is None else torch.from_numpy(data.answered[index])
        if data.agreed is not None and data.targets is not None and self.shuffle:
            heard = torch.from_numpy(uniforms(self.seed, epoch, index, 1)[:, 0] < data.agreed[index])
            answered = heard if answered is None else answered & heard
        return Batch(inputs, rows, as_tensor(labels), teacher, index, owners, mixed, shift, answered, parts)


def hide(present: np.ndarray, chance: float, *, seed: int, epoch: int, index: np.ndarray) -> np.ndarray:
    """(r, M) float32: `present` of the rows `index` with each input hidden by chance, drawn by pass and row; a row keeps what it has
    where nothing would be left."""
    left = present * (uniforms(seed, epoch, index, present.shape[1]) >= chance)
    return np.where(left.any(axis=1, keepdims=True), left, present).astype(np.float32)


def scheduled_batches(rows: Rows, config: Train, *, label: str, ctx: Context, labelled: bool = False) -> tuple[Batches, Train]:
    """The batches of a training, and its schedule in steps; one line says where these differ from the recipe's own words.

    `labelled`: the labelled rows alone, with as many steps and validations as over all rows: counted in its own short passes, a training on
    a twentieth of the labels would end at once.
    """
    owner = np.asarray(rows.rows[rows.group])
    keep = known(rows.labels) if labelled else None
    every, own = len(np.unique(owner)), len(np.unique(owner if keep is None else owner[keep]))
    schedule = fit_schedule(config, own, of=every)
    if line := schedule_line(config, schedule, own):
        ctx.say(f"{label}: {line}")
    return Batches(rows, schedule.batch_size, seed=ctx.seed, keep=keep, hide=config.modality_dropout), schedule


def even_odds(strata: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(G,) how likely each group is drawn, so that each stratum among them comes as often; those without any keep their share.

    strata: (R,) int, -1 unlabelled, and groups: (R,) int in [0, G), of rows; a group counts for its rarest stratum."""
    counts = np.bincount(strata[strata >= 0], minlength=int(strata.max(initial=0)) + 1)
    rarity = np.where(strata >= 0, counts[strata], len(strata) + 1)
    order = np.lexsort((rarity, groups))
    first = order[np.unique(groups[order], return_index=True)[1]]  # the row of each group with its rarest stratum
    own = strata[first]  # (G,)
    sizes = np.bincount(own + 1)
    labelled = own >= 0
    odds = np.ones(len(own))
    odds[labelled] = labelled.sum() / (len(np.unique(own[labelled])) * sizes[own[labelled] + 1])
    return odds / odds.sum()


def as_tensor(labels: np.ndarray) -> Tensor:
    """Labels (r, ...) as losses read them: numbers as float32, places and tags as int64."""
    return torch.from_numpy(labels.astype(np.float32 if labels.dtype.kind == "f" else np.int64))


def pair_labels(labels: np.ndarray, partners: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of inputs mixed in pairs the rows' own labels and those of the partners' first rows, (r, ...) each; neither has any where one lacks them.

    labels: (r, ...), input by input; counts: (n,) rows of each input; partners: (n,) places of inputs.
    """
    others = np.repeat(labels[(np.cumsum(counts) - counts)[partners]], counts, axis=0)
    without = ~(known(labels) & known(others))
    own, others = labels.copy(), others.copy()
    for answers in (own, others):
        answers[without] = unlabelled(answers, int(without.sum()))
    return own, others


def take(array: np.ndarray, index: np.ndarray) -> np.ndarray:
    """`array[index]`, in memory; rising order first, because that is how a memory-mapped file is read fast."""
    order = np.argsort(index, kind="stable")
    out = np.empty((len(index), *array.shape[1:]), array.dtype)
    out[order] = array[index[order]]
    return out
