"""A class for each place of a picture: masks beside pictures, such as roads, people, defects, organs."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.device.errors import ImageError
from compress.device.image_file import image_size, open_mask, pillow, shown_size
from compress.device.modalities.image import fit
from compress.device.tasks.segmentation import IGNORED, as_png, shares
from compress.errors import DataError, RecipeError
from compress.io_spec import Port
from compress.tasks.labels import known
from compress.tasks.task import Task

if TYPE_CHECKING:
    import pyarrow as pa

    from compress.measures.metrics import Metric

THREADS = 4  # that read masks
SHOWN = 4  # classes that are named where a mask is told in words
DRAWN_PIXELS = 128  # about the side of a mask on a page


class Segmentation(Task):
    """A label is a mask, a file as pictures are: pixel value = place of the class in data.names, IGNORED is none; logits are (R, P K).

    The P = S * S places are pixels of a square that is `stride` times coarser than the picture which the student reads; a place has the class of
    the mask's pixel at its middle. Labels are (R, S, S) int16, K where a place is ignored, and so are answers. Facts: names; of, the input that
    pictures are; grid, which is S; size, resize, edge: how a picture becomes the square. A row's gain is the mean IoU of the classes that are labelled or answered.
    """

    column = "mask"
    losses = ("pixel_cross_entropy", "pixel_dice", "pixel_kd")
    objective = ({"name": "pixel_cross_entropy"}, {"name": "pixel_kd", "options": {"temperature": 2.0}})
    rivals = {
        "pixel_kd, T = 1": {"name": "pixel_kd", "options": {"temperature": 1.0}},
        "pixel_kd, T = 4": {"name": "pixel_kd", "options": {"temperature": 4.0}},
    }
    metric = "picture_iou"
    measure = "IoU of a picture's classes"
    constant = "the commonest class of each place"
    unknown = "a mask that cannot be used"
    misfit = "a mask of another size than its picture"
    hidden = False
    one_of_many = False
    balances = False
    named = True
    dense = True
    foreign = ("folder", "hub", "run")

    def __init__(self, name: str, *, stride: int = 8) -> None:
        super().__init__(name)
        self.stride = stride

    def reading(self, inputs: Any, teacher: Any) -> dict[str, Any]:
        """The square, and how pictures become it; the teacher must see the same part of a picture."""
        (picture,) = inputs.modalities
        words, theirs = inputs.get(picture), teacher and teacher.get(picture)
        if theirs and (theirs.resize, (theirs.edge or theirs.size) * words.size) != (
            words.resize,
            (words.edge or words.size) * theirs.size,
        ):
            both = [f"resize: {one.resize}, size: {one.size}, edge: {one.edge}" for one in (theirs, words)]
            raise RecipeError(
                f"teacher.inputs.{picture}: {{{both[0]}}} and data.inputs.{picture} {{{both[1]}}} show other parts of a picture, and places are compared; "
                "give both the same resize, and edges in the same ratio to their sizes, or none (null)"
            )
        return {"of": picture, "grid": words.size // self.stride, "size": words.size, "resize": words.resize, "edge": words.edge}

    def cells(self, column: pa.ChunkedArray, place: str) -> pa.ChunkedArray:
        """Paths, or contents of files; null where the cell is blank."""
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = column.type
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
            return column
        if not (pa.types.is_string(kind) or pa.types.is_null(kind)):
            raise DataError(f"{place} is {kind}, but masks are files: paths, or their content")
        paths = column.cast(pa.string())
        return pc.if_else(pc.equal(pc.utf8_trim_whitespace(pc.fill_null(paths, "")), ""), None, paths)

    def names(self, column: pa.ChunkedArray) -> list[str]:
        """The numbers from 0 to the largest in a training mask, for who gives no data.names."""
        largest = 0
        for cell in column:
            if not cell.is_valid:
                continue
            try:
                numbers = open_mask(cell.as_py())
            except ImageError:  # told with its row
                continue
            largest = max(largest, int(numbers[numbers != IGNORED].max(initial=0)))
        return [str(number) for number in range(largest + 1)]

    def learn(self, column: pa.ChunkedArray, names: list[str]) -> dict[str, Any]:
        """The names themselves, by whose number places are told apart."""
        if not 2 <= len(names) <= IGNORED:
            raise DataError(f"data.names: {len(names)} classes ({', '.join(names[:5])}); a mask tells 2 to {IGNORED} apart")
        return {"names": list(names)}

    def check(self, names: list[str], labels: Mapping[str, np.ndarray]) -> None:
        """Train must have at least two classes, and each that validation or test has."""
        has = {split: np.bincount(some[(some >= 0) & (some < len(names))], minlength=len(names)) > 0 for split, some in labels.items()}
        if has["train"].sum() < 2:
            raise DataError(f"data: the masks of the training split have {int(has['train'].sum())} classes; at least 2 are needed")
        for split, there in has.items():
            if absent := [name for name, own, theirs in zip(names, has["train"], there, strict=True) if theirs and not own]:
                raise DataError(
                    f"data: {split} has classes that no mask of train has: {', '.join(absent)}; add such pictures to train, or "
                    f"write {IGNORED} in their place, which is ignored"
                )

    def encode(self, column: pa.ChunkedArray, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """(R, S, S) int16; a mask that cannot be read, has other numbers, or is ignored throughout, has none."""
        import pyarrow.compute as pc

        side, blank = self.facts["grid"], pc.is_null(column).to_numpy().astype(bool)
        labels = np.full((len(column), side, side), -1, np.int16)

        def read(row: int) -> None:
            try:
                found = self._square(open_mask(column[row].as_py()), len(names))
            except ImageError:  # `fault` tells it
                return
            if found is not None:
                labels[row] = found

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(read, np.flatnonzero(~blank).tolist()))
        return labels, blank

    def fault(self, cell: Any, names: list[str]) -> str:
        """What is wrong with the file, or its numbers."""
        shown = cell if isinstance(cell, str) else f"<{len(cell):,} bytes>"
        try:
            numbers = open_mask(cell)
        except ImageError as error:
            return f"{shown}: {error}"
        others = [str(number) for number in np.unique(numbers) if len(names) <= number < IGNORED]
        if others:
            return f"{shown}: pixels of {', '.join(others[:5])}, and there are {len(names)} classes from 0 on, and {IGNORED} for none; name them in data.names"
        return f"{shown}: every place is {IGNORED}, which is ignored"

    def misfits(self, table: pa.Table) -> tuple[np.ndarray, Callable[[int], str]]:
        """Rows whose mask has another width or height than the picture, as headers have them; files that cannot be opened are told elsewhere."""
        pictures, masks = (table.column(name) for name in (self.facts["of"], self.column))
        told: dict[int, str] = {}

        def look(row: int) -> None:
            picture, mask = pictures[row].as_py(), masks[row].as_py()
            if not picture or not mask:
                return
            try:
                wanted, found = shown_size(picture), image_size(mask)
            except ImageError:
                return
            if wanted != found:
                sizes = [f"{width} x {height}" for width, height in (found, wanted)]
                told[row] = f"{sizes[0]} pixels, the picture {sizes[1]}; resize the mask by repeating pixels (nearest)"

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(look, range(table.num_rows)))
        return np.isin(np.arange(table.num_rows), list(told)), lambda row: told[row]

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """The rarest class of each row."""
        count, there = int(labels.max(initial=0)) + 1, known(labels)
        totals = np.bincount(labels[labels >= 0], minlength=count)
        rarity = np.where((labels >= 0) & (labels < self._ignored(labels)), totals[np.maximum(labels, 0)], labels.size + 1)
        flat = labels.reshape(len(labels), -1)
        rarest = flat[np.arange(len(flat)), rarity.reshape(flat.shape).argmin(1)] if len(flat) else np.zeros(0)
        return np.where(there, rarest, -1).astype(np.int32)

    def account(self, labels: np.ndarray, names: list[str]) -> dict[str, Any]:
        """Places of each class, and the share of those that are ignored."""
        counts = np.bincount(labels[labels >= 0], minlength=len(names) + 1)
        return {
            "label_counts": dict(zip(names, counts[: len(names)].tolist(), strict=True)),
            "ignored_share": float(counts[len(names)] / max(counts.sum(), 1)),
        }

    def port(self, names: list[str]) -> Port:
        """logits (P K,) float32."""
        side = self.facts["grid"]
        return Port("logits", "float32", (side * side * len(names),), each=side * side, grid=side)

    def guess(self, labels: np.ndarray, codes: np.ndarray, count: int) -> np.ndarray:
        """At every place the votes of the rows of a code."""
        classes, flat = len(self.facts["names"]), labels.reshape(len(labels), -1)
        votes = np.stack([np.stack([(flat[codes == c] == k).sum(0) for k in range(classes)], 1) for c in range(count)])  # (count, P, K)
        return votes.reshape(count, -1).astype(np.float32)

    def answers(self, logits: np.ndarray) -> np.ndarray:
        """(R, S, S) int16 arg-max of each place; -1 throughout where a logit of the row is not finite."""
        side = self.facts["grid"]
        found = logits.reshape(len(logits), side, side, -1).argmax(3)
        return np.where(np.isfinite(logits).all(1)[:, None, None], found, -1).astype(np.int16)

    def gains(self, answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(R,) the mean IoU of a row's classes, over the places that are labelled."""
        from compress.measures.overlap import count_overlap, mean_iou

        return mean_iou(count_overlap(answers, labels, len(self.facts["names"])))

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Also the mean IoU over all places with its interval, and the share of places that are right."""
        from compress.measures.metrics import Metric
        from compress.measures.overlap import count_overlap, mean_iou, mean_iou_interval

        def counts(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
            return count_overlap(self.answers(logits), labels, len(self.facts["names"]))

        def right(logits: np.ndarray, labels: np.ndarray) -> float:
            both, _, labelled = counts(logits, labels).sum((0, 2))
            return float(both / max(labelled, 1))

        return {
            self.metric: Metric(self.score, "fraction", True),
            "mean_iou": Metric(
                lambda logits, labels: float(mean_iou(counts(logits, labels).sum(0))),
                "fraction",
                True,
                lambda logits, labels: mean_iou_interval(counts(logits, labels)),
            ),
            "pixel_accuracy": Metric(right, "fraction", True),
        }

    def parts(self, answers: np.ndarray, labels: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
        """The IoU of each class in the rows where it is labelled or answered."""
        from compress.measures.overlap import count_overlap, iou

        found = iou(count_overlap(answers, labels, len(names)))  # (R, K)
        by_name = {name: found[np.isfinite(found[:, k]), k] for k, name in enumerate(names)}
        return {name: gains for name, gains in by_name.items() if len(gains)}

    def show(self, answer: np.ndarray, names: list[str]) -> str:
        """The largest classes with their shares of the places."""
        if np.any(answer < 0):
            return "not a number"
        found = shares(answer, names)
        told = ", ".join(f"{entry['label']} {100 * entry['share']:.0f} %" for entry in found[:SHOWN])
        return told + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "") if found else "nothing"

    def draw(self, answer: np.ndarray, names: list[str]) -> str:
        """The mask as a PNG in the page itself, a place enlarged by a whole factor."""
        factor = max(1, DRAWN_PIXELS // len(answer))
        places = np.where((answer < 0) | (answer >= len(names)), IGNORED, answer).astype(np.uint8)
        content = as_png(np.repeat(np.repeat(places, factor, axis=0), factor, axis=1))
        told = html.escape(self.show(answer, names), quote=True)
        return f'<img alt="mask: {told}" src="data:image/png;base64,{base64.b64encode(content).decode()}">'

    def sentence(self, names: list[str]) -> str:
        """`one of K classes for each of S x S places`."""
        return f"one of {len(names)} classes for each of {self.facts['grid']} x {self.facts['grid']} places of a picture"

    def _square(self, numbers: np.ndarray, classes: int) -> np.ndarray | None:
        """(S, S) of a mask (H, W): brought to the picture's square as the picture is, then the middle of each place; None where it has no class."""
        if np.any((numbers >= classes) & (numbers != IGNORED)):
            return None
        size, words = self.facts["size"], {name: self.facts[name] for name in ("resize", "edge")}
        whole = fit(pillow().fromarray(numbers), height=size, width=size, resampling="nearest", around=IGNORED, **words)
        places = whole[self.stride // 2 :: self.stride, self.stride // 2 :: self.stride]
        return None if (places == IGNORED).all() else np.where(places == IGNORED, classes, places).astype(np.int16)

    def _ignored(self, labels: np.ndarray) -> int:
        """What stands where a place is ignored."""
        return len(self.facts["names"]) if "names" in self.facts else int(labels.max(initial=0))
