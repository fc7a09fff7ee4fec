"""What every entry of LOSSES must keep to, whatever it computes; and agreement with a slow reference in NumPy."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.io_spec import Outputs
from compress.recipe.declarations import declaration
from compress.recipe.needs import hidden_state, reads_teacher
from compress.tables import LOSSES, resolve
from compress.tasks.task import task

ROWS, CLASSES, NARROW, WIDE = 6, 5, 3, 4
COUNTS = torch.tensor([10, 1, 5, 4, 0])
FROM_LABELS = [name for name in LOSSES if not reads_teacher(LOSSES[name])]
FROM_TEACHER = [name for name in LOSSES if name not in FROM_LABELS]
FROM_STATES = [name for name in LOSSES if hidden_state(LOSSES[name], {})]


def bind(name: str, project: nn.Module | None = None) -> Callable[..., Tensor]:
    """The loss with what the program gives it."""
    function = resolve(LOSSES[name])
    given: dict[str, Any] = {"counts": COUNTS, "project": project or nn.Identity(), "towers": 2}
    return partial(function, **{key: value for key, value in given.items() if key in inspect.signature(function).parameters})


def draw(name: str, seed: int = 0, *, rows: int = ROWS) -> tuple[Outputs, Outputs, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def one(width: int) -> Tensor:
        return torch.randn(rows, width, generator=generator).requires_grad_()

    labels, width = labels_of(name, torch.randint(CLASSES - 1, (rows,), generator=generator)), of_towers(name) * CLASSES
    return Outputs(one(width), one(WIDE)), Outputs(one(width), one(WIDE)), labels


def of_towers(name: str) -> int:
    """How many vectors behind each other a loss reads."""
    return 2 if "towers" in inspect.signature(resolve(LOSSES[name])).parameters else 1


def of_task(name: str) -> str:
    """The task that a loss on labels is of."""
    return next(
        (
            one
            for one in ("multi_label", "regression", "token_labels", "segmentation")
            if name in task(one).losses and name not in task("single_label").losses
        ),
        "",
    )


def labels_of(name: str, labels: Tensor) -> Tensor:
    """Labels (R,) in the form of the loss's task."""
    tags = nn.functional.one_hot(labels, CLASSES)
    forms = {"multi_label": tags, "regression": tags.float(), "token_labels": labels[:, None], "segmentation": labels[:, None, None]}
    return forms.get(of_task(name), labels)


def without(labels: Tensor) -> Tensor:
    return torch.full_like(labels, torch.nan if labels.is_floating_point() else -1)


def agreeing(name: str) -> tuple[Outputs, Outputs, Tensor]:
    """A student equal to a teacher that is sure and right, and whose states lie at right angles, so that each loss is at its least."""
    labels = torch.arange(CLASSES)
    logits = {"multi_label": 120 * torch.eye(CLASSES) - 60, "regression": torch.eye(CLASSES)}.get(of_task(name), 60 * torch.eye(CLASSES))
    sure = Outputs(logits.repeat(1, of_towers(name)), 3.0 * torch.eye(CLASSES))
    return sure.map(torch.clone), sure, labels_of(name, labels)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_zero_at_agreement_and_positive_elsewhere(name: str) -> None:
    # contrastive: -log(1 / (1 + 4 exp(-10))) = 4 exp(-10) = 0.00018 with five rows at right angles and T = 0.1
    assert bind(name)(*agreeing(name)).item() == pytest.approx(0, abs=3e-4 if name == "contrastive" else 1e-5)
    assert bind(name)(*draw(name)).item() > 1e-3


@pytest.mark.parametrize("name", LOSSES)
def test_loss_gives_the_teacher_no_gradient(name: str) -> None:
    student, teacher, labels = draw(name)
    bind(name)(student, teacher, labels).backward()
    assert teacher.logits.grad is None and teacher.embedding.grad is None
    read = student.embedding if name in FROM_STATES else student.logits
    assert read.grad is not None and read.grad.abs().sum() > 0 and torch.isfinite(read.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_loss_does_not_depend_on_the_order_of_rows(name: str) -> None:
    student, teacher, labels = draw(name)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    shuffled = (outputs.map(lambda x: x[order]) for outputs in (student, teacher))
    assert bind(name)(*shuffled, labels[order]).item() == pytest.approx(bind(name)(student, teacher, labels).item(), rel=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_finite_in_bfloat16_and_with_equal_rows(name: str) -> None:
    student, teacher, labels = draw(name)
    low = [outputs.map(lambda x: x.detach().bfloat16()[[0, 0, 1, 2, 2, 2]].requires_grad_()) for outputs in (student, teacher)]
    loss = bind(name)(*low, labels)
    loss.backward()
    read = low[0].embedding if name in FROM_STATES else low[0].logits
    assert torch.isfinite(loss) and torch.isfinite(read.grad).all()


@pytest.mark.parametrize("name", FROM_LABELS)
def test_loss_of_labels_leaves_unlabelled_rows_out(name: str) -> None:
    student, _, labels = draw(name)
    masked = labels.clone()
    masked[2:] = without(labels)[2:]
    assert bind(name)(student, None, masked).item() == pytest.approx(bind(name)(Outputs(student.logits[:2]), None, labels[:2]).item())
    loss = bind(name)(student, None, without(labels))
    loss.backward()
    assert loss.item() == 0 and student.logits.grad.abs().sum() == 0


@pytest.mark.parametrize("name", FROM_TEACHER)
def test_loss_of_the_teacher_learns_from_unlabelled_rows(name: str) -> None:
    student, teacher, labels = draw(name)
    loss = bind(name)(student, teacher, without(labels))
    assert torch.isfinite(loss) and loss.item() > 0
    if name != "dkd":  # which takes the teacher's answer where there is no label
        assert loss.item() == pytest.approx(bind(name)(student, teacher, labels).item())


@pytest.mark.parametrize("name", FROM_STATES)
def test_loss_of_states_takes_one_row_and_looks_at_no_logits(name: str) -> None:
    student, teacher, labels = draw(name, rows=1)
    loss = bind(name)(Outputs(None, student.embedding), Outputs(None, teacher.embedding), labels)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(student.embedding.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_card_says_what_the_loss_needs(name: str) -> None:
    card = declaration(LOSSES[name]).__doc__ or ""
    assert "Needs: " in card and len(card.splitlines()[0]) < 140


@pytest.mark.parametrize("name", [name for name in FROM_STATES if "project" in inspect.signature(resolve(LOSSES[name])).parameters])
def test_projection_brings_the_student_to_the_teachers_width_and_learns(name: str) -> None:
    student, teacher, labels = draw(name)
    narrow, project = Outputs(student.logits, student.embedding[:, :NARROW]), nn.Linear(NARROW, WIDE)
    bind(name, project)(narrow, teacher, labels).backward()
    assert project.weight.grad is not None and project.weight.grad.abs().sum() > 0


def softmax(x: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    e = np.exp((x - x.max()) / temperature)
    return e / e.sum()


def kl(p: np.ndarray, q: np.ndarray) -> float:
    return float(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True)))


def yes(logit: Any) -> Any:
    return 1 / (1 + np.exp(-logit))


def huber(x: float) -> float:
    return x * x / 2 if abs(x) < 1 else abs(x) - 0.5


def angle_cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def standardised(row: np.ndarray) -> np.ndarray:
    return (row - row.mean()) / row.std()


def class_weight(label: int, power: float) -> float:
    n = COUNTS.numpy().astype(float)
    raw = [count**-power if count else 0.0 for count in n]
    return raw[label] * n.sum() / sum(a * b for a, b in zip(n, raw, strict=True))


def reference(name: str, s: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
    """The formula of the card, row by row: s, t are logits, or states of equal width; default options."""
    rows = range(len(s))
    pairs = list(combinations(rows, 2))

    def distances(x: np.ndarray) -> np.ndarray:
        raw = np.array([np.linalg.norm(x[i] - x[j]) for i, j in pairs])
        return raw / raw.mean()

    def across(x: np.ndarray, gallery: np.ndarray, i: int, a: int) -> np.ndarray:
        """Of row i's vector in tower a, who is near among the vectors of the other tower, T = 0.07."""
        one, other = np.split(x, 2, 1)[a], np.split(gallery, 2, 1)[1 - a]
        return softmax(np.array([angle_cosine(one[i], other[j]) for j in rows]), 0.07)

    def gram(x: np.ndarray) -> np.ndarray:
        raw = x @ x.T
        return np.array([row / np.linalg.norm(row) for row in raw])

    def near(x: np.ndarray, i: int) -> np.ndarray:
        raw = np.array([(1 + angle_cosine(x[i], x[j])) / 2 for j in rows if j != i])
        return raw / raw.sum()

    def angle(x: np.ndarray, i: int, j: int, k: int) -> float:
        return angle_cosine(x[i] - x[j], x[k] - x[j])

    def centred(x: np.ndarray) -> np.ndarray:
        return x - x.mean(0)

    def turned() -> float:
        a, b = (centred(x) / np.linalg.norm(centred(x)) for x in (s, t))
        u, _, v = np.linalg.svd(a.T @ b)
        return ((a @ u @ v - b) ** 2).sum() / 2

    def dice(k: int) -> float:
        q = np.array([softmax(row)[k] for row in s])
        return 1 - 2 * q[y.ravel() == k].sum() / (q.sum() + (y == k).sum())

    triples = [(i, j, k) for j in rows for i in rows for k in rows if len({i, j, k}) == 3]
    log_q = [np.log(softmax(row)) for row in s]
    found: dict[str, Callable[[], Any]] = {
        "cross_entropy": lambda: [-log_q[r][y[r]] for r in rows],
        "weighted_cross_entropy": lambda: [-class_weight(y[r], 1.0) * log_q[r][y[r]] for r in rows],
        "focal": lambda: [-((1 - np.exp(log_q[r][y[r]])) ** 2) * log_q[r][y[r]] for r in rows],
        "kd": lambda: [4 * kl(softmax(t[r], 2), softmax(s[r], 2)) for r in rows],
        "kd_standardised": lambda: [4 * kl(softmax(standardised(t[r]), 2), softmax(standardised(s[r]), 2)) for r in rows],
        "logit_mse": lambda: [((s[r] - s[r].mean() - t[r] + t[r].mean()) ** 2).mean() for r in rows],
        "logit_l1": lambda: [np.abs(s[r] - s[r].mean() - t[r] + t[r].mean()).mean() for r in rows],
        "teacher_label": lambda: [-log_q[r][t[r].argmax()] for r in rows],
        "token_cross_entropy": lambda: [-log_q[r][y[r, 0]] for r in rows],  # of rows of one word
        "token_kd": lambda: [4 * kl(softmax(t[r], 2), softmax(s[r], 2)) for r in rows],
        "pixel_cross_entropy": lambda: [-log_q[r][y[r, 0, 0]] for r in rows],  # of rows of one place
        "pixel_kd": lambda: [4 * kl(softmax(t[r], 2), softmax(s[r], 2)) for r in rows],
        "pixel_dice": lambda: [dice(k) for k in np.unique(y)],
        "binary_cross_entropy": lambda: [-np.log(np.where(y[r] > 0, yes(s[r]), 1 - yes(s[r]))) for r in rows],
        "binary_kd": lambda: [
            4 * kl(np.array([yes(b / 2), 1 - yes(b / 2)]), np.array([yes(a / 2), 1 - yes(a / 2)])) for a, b in zip(s.flat, t.flat)
        ],
        "squared_error": lambda: [(s[r] - y[r]) ** 2 for r in rows],
        "absolute_error": lambda: [np.abs(s[r] - y[r]) for r in rows],
        "number_kd": lambda: [(s[r] - t[r]) ** 2 for r in rows],
        "label_contrast": lambda: [
            np.mean([-np.log(softmax(np.array([angle_cosine(s[i], s[a]) for a in others]), 0.1)[others.index(p)]) for p in likes])
            for i in rows
            if (others := [a for a in rows if a != i]) and (likes := [p for p in others if y[p] == y[i]])
        ],
        "vector_kd": lambda: [1 - angle_cosine(s[r], t[r]) for r in rows],
        "vector_neighbours": lambda: [
            kl(*(softmax(np.array([angle_cosine(x[i], t[j]) for j in rows]), 0.1) for x in (t, s))) for i in rows
        ],
        "tower_contrast": lambda: [np.mean([-np.log(across(s, s, i, a)[p]) for p in rows if y[p] == y[i]]) for i in rows for a in (0, 1)],
        "tower_affinity": lambda: [kl(across(t, t, i, a), across(s, s, i, a)) for i in rows for a in (0, 1)],
        "tower_neighbours": lambda: [kl(across(t, t, i, a), across(s, t, i, a)) for i in rows for a in (0, 1)],
        "hint": lambda: [((s[r] - t[r]) ** 2).mean() for r in rows],
        "simkd": lambda: [((s[r] - t[r]) ** 2).mean() for r in rows],
        "hint_l1": lambda: [np.abs(s[r] - t[r]).mean() for r in rows],
        "cosine": lambda: [1 - angle_cosine(s[r], t[r]) for r in rows],
        "feature_kd": lambda: [kl(softmax(t[r]), softmax(s[r])) for r in rows],
        "rkd_distance": lambda: [huber(a - b) for a, b in zip(distances(s), distances(t), strict=True)],
        "rkd_angle": lambda: [huber(angle(s, *triple) - angle(t, *triple)) for triple in triples],
        "similarity": lambda: (gram(s) - gram(t)) ** 2,
        "pkt": lambda: [kl(near(t, i), near(s, i)) for i in rows],
        "cka": lambda: [1 - angle_cosine(*((centred(x) @ centred(x).T).ravel() for x in (s, t)))],
        "procrustes": lambda: [turned()],
        "affinity": lambda: [kl(*(softmax(np.array([angle_cosine(x[i], x[j]) for j in rows]), 0.1) for x in (t, s))) for i in rows],
        "contrastive": lambda: [-np.log(softmax(np.array([angle_cosine(s[i], t[j]) for j in rows]), 0.1)[i]) for i in rows],
    }
    return float(np.mean(found[name]())) if name in found else np.nan


PAIRS = ("dkd", "dist")  # whose references are identities and golden numbers, in test_logits


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in PAIRS])
def test_loss_agrees_with_a_slow_reference(name: str) -> None:
    for seed in range(3):
        student, teacher, labels = draw(name, seed)
        s, t = ((o.embedding if name in FROM_STATES else o.logits).detach().double().numpy() for o in (student, teacher))
        expected = reference(name, s, t, labels.numpy())
        assert bind(name)(student, teacher, labels).item() == pytest.approx(expected, rel=2e-4)
