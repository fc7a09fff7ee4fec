"""How the shipped file answers questions in words that it was not trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from compress.artifacts import TorchModel
from compress.data.prepared import PreparedData
from compress.data.tokens import tokenize, unknown_rate
from compress.device.sessions import open_session

MAX_ROWS = 2000  # spread evenly over the rows that have a paraphrase


def score_paraphrases(model: Path, student: TorchModel, data: PreparedData) -> dict | None:
    """Share of right answers to test rows asked in other words, and to the same rows as they are; None without paraphrases."""
    if not data.paraphrases or not student.io_spec:
        return None
    test, tokenizer = data.split("test"), student.file("tokenizer.json")
    texts = test.inputs["text"].to_pylist()
    rephrased = np.array([text in data.paraphrases for text in texts])
    rows = np.flatnonzero(rephrased[test.rows["text"]] & (np.asarray(test.labels) >= 0))
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(MAX_ROWS, len(rows))).astype(int))] if len(rows) else rows
    if not len(rows):
        return None
    length, session = student.io_spec.input("text").shape[0], open_session(model)
    shares = {}
    for name, words in (("value", [data.paraphrases.get(t, t) for t in texts]), ("original", texts)):
        tokens = tokenize(tokenizer, words, length)
        right = 0
        for start in range(0, len(rows), 64):
            part = rows[start : start + 64]
            feeds = {"text": tokens[test.rows["text"][part]]}
            if "image" in test.inputs:
                feeds["image"] = np.asarray(test.inputs["image"][test.rows["image"][part]])
            right += int((session.run(feeds)["logits"].argmax(1) == test.labels[part]).sum())
        shares[name] = right / len(rows)
    return {
        **shares,
        "samples": len(rows),
        "texts": len(data.paraphrases),
        "unknown_rate": unknown_rate(tokenizer, data.paraphrases.values()),
    }
