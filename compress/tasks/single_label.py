"""One of K labels: classification, and questions whose answers are few."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from compress.errors import CompressError
from compress.io_spec import Port
from compress.tasks.task import Task

if TYPE_CHECKING:
    import pyarrow as pa

    from compress.measures.metrics import Metric


class SingleLabel(Task):
    """The label is a name or a number; logits are (R, K) in the order of the labels, and the largest one answers."""

    column = "label"
    losses = (
        "cross_entropy",
        "weighted_cross_entropy",
        "focal",
        "kd",
        "kd_standardised",
        "dkd",
        "dist",
        "logit_mse",
        "logit_l1",
        "teacher_label",
        "hint",
        "hint_l1",
        "cosine",
        "feature_kd",
        "simkd",
        "rkd_distance",
        "rkd_angle",
        "similarity",
        "pkt",
        "contrastive",
    )
    metric = "accuracy"

    def names(self, column: pa.ChunkedArray) -> list[str]:
        """The labels that the training split uses: in the column's own order if it is a dictionary, else by number or alphabet."""
        import pyarrow as pa

        plain = column.cast(pa.string())
        used = set(plain.filter(pa.array(~_blank(plain))).unique().to_pylist())
        if pa.types.is_dictionary(column.type):
            own = column.unify_dictionaries().chunk(0).dictionary.to_pylist() if column.num_chunks else []
            return [name for name in own if name in used]
        numeric = all(name.isascii() and name.isdigit() for name in used)
        return sorted(used, key=lambda name: (int(name), name)) if numeric else sorted(used)

    def encode(self, column: pa.ChunkedArray, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """(R,) int32 places in `names`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        plain = column.cast(pa.string())
        codes = pc.fill_null(pc.index_in(plain, pa.array(names, pa.string())), -1).to_numpy()
        return codes.astype(np.int32), _blank(plain)

    def port(self, names: list[str]) -> Port:
        """logits (K,) float32."""
        return Port("logits", "float32", (len(names),))

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """METRICS of classification."""
        from compress.measures.metrics import METRICS

        return METRICS

    def answers(self, logits: np.ndarray) -> np.ndarray:
        """(R,) int32 arg-max."""
        return np.where(np.isfinite(logits).all(axis=1), logits.argmax(axis=1), -1).astype(np.int32)

    def right(self, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The arg-max is the label; no row without a label is right."""
        return (self.answers(logits) == labels) & (labels >= 0)

    def score(self, logits: np.ndarray, labels: np.ndarray) -> float:
        """Share of the labelled rows that are right; raises CompressError where there is none."""
        known = labels >= 0
        if not known.any():
            raise CompressError(f"no labelled row among {len(labels)} to score; a validation split needs labels")
        return float(self.right(logits[known], labels[known]).mean())

    def sentence(self, names: list[str]) -> str:
        """`classification into K labels`."""
        return f"classification into {len(names)} labels"


def _blank(column: pa.ChunkedArray) -> np.ndarray:
    """(R,) bool: null, empty or white space alone."""
    import pyarrow.compute as pc

    return pc.equal(pc.utf8_trim_whitespace(pc.fill_null(column, "")), "").to_numpy(zero_copy_only=False).astype(bool)
