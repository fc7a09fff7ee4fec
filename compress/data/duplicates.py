"""What validation and test share with train beyond equal inputs: near duplicates and groups, as figures for report.json and as sentences."""

from __future__ import annotations

from typing import Any

import numpy as np

from compress.data.presence import owned
from compress.data.rows import EXAMPLES, Rows


def crossing(pairs: np.ndarray, sizes: dict[str, int], *, first: str, second: str) -> np.ndarray:
    """(Q, 2) int64: of `pairs` (P, 2), numbered through all splits in the order of `sizes`, those with one end in each; indices within."""
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist()))
    found = []
    for ends in (pairs, pairs[:, ::-1]):
        local = ends - [starts[first], starts[second]]
        found.append(local[((local >= 0) & (local < [sizes[first], sizes[second]])).all(axis=1)])
    return np.concatenate(found)


def describe_near(rows: Rows, train: Rows, pairs: np.ndarray) -> dict[str, Any]:
    """Counts of a split's inputs and rows that are near duplicates of training inputs, and examples; pairs: (Q, 2) split's and train's input."""
    inputs, first = np.unique(pairs[:, 0], return_index=True)
    own, others = owned(rows), owned(train)
    examples = []
    for index, other in pairs[first[:EXAMPLES]].tolist():
        row, train_row = int(np.argmax(own == index)), int(np.argmax(others == other))
        examples.append(
            {
                "input": index,
                "row": int(rows.number[row]),
                "value": rows.inputs[rows.owner].shown(index),
                "train_input": other,
                "train_row": int(train.number[train_row]),
                "train_value": train.inputs[train.owner].shown(other),
            }
        )
    return {"of": rows.owner, "inputs": len(inputs), "rows": int(np.isin(own, inputs).sum()), "examples": examples}


def describe_groups(rows: Rows, train: Rows, names: list[str]) -> dict[str, Any] | None:
    """Counts of a split's groups, of those that train has too, of the latter's rows, and examples; None where there are no groups."""
    if not names:
        return None
    own = np.unique(rows.groups[rows.groups >= 0])
    shared = np.intersect1d(own, train.groups)
    return {
        "groups": len(own),
        "rows_without": int((rows.groups < 0).sum()),
        "in_train": len(shared),
        "rows_in_train": int(np.isin(rows.groups, shared).sum()),
        "examples": [names[group] for group in shared[:EXAMPLES]],
    }


def list_leaks(report: dict) -> list[str]:
    """What a reader of the figures must know, one sentence a fact: groups and near duplicates on both sides, labels that a split lacks."""
    train = report["splits"]["train"]["label_counts"]
    found = []
    if lacking := [label for label, count in train.items() if not count]:
        found.append(
            f"train has no labelled row of {_labels(lacking)}: data.train_limit, data.labelled_fraction or skipped rows leave none."
        )
    for split, account in report["splits"].items():
        if split == "train":
            continue
        groups, near = account["groups"], account["near_duplicates"]
        if groups and groups["in_train"]:
            found.append(
                f"{groups['in_train']:,} of {groups['groups']:,} groups of {split} are in train too "
                f"({_few(groups['examples'], groups['in_train'])}; {groups['rows_in_train']:,} of {account['rows']:,} rows): "
                "figures on them say little about new groups."
            )
        if near and near["inputs"]:
            found.append(
                f"{near['inputs']:,} of {account['inputs'][near['of']]:,} {split} {near['of']}s are near duplicates of training {near['of']}s "
                f"({near['rows']:,} of {account['rows']:,} rows): figures on them may be remembered."
            )
        if lacking := [label for label, count in account["label_counts"].items() if train[label] and not count]:
            found.append(f"{split} has no row of {_labels(lacking)}, which train has.")
    return found


def _labels(names: list[str]) -> str:
    return f"{len(names):,} {'label' if len(names) == 1 else 'labels'} ({_few(names, len(names))})"


def _few(names: list[str], count: int) -> str:
    return ", ".join(names[:EXAMPLES]) + (", ..." if count > min(len(names), EXAMPLES) else "")
