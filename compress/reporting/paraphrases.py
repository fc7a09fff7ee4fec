"""How the shipped file answers questions in words that it was not trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from compress.data.prepared import PreparedData
from compress.device.sessions import open_session
from compress.measures.paired import compare_paired
from compress.modalities.modality import modality
from compress.modalities.tokens import unknown_rate
from compress.store.artifacts import TorchModel
from compress.tasks.labels import known

MAX_ROWS = 2000  # spread evenly over the rows that have a paraphrase


def score_paraphrases(model: Path, student: TorchModel, data: PreparedData) -> dict | None:
    """Mean gain (share of right answers) on test rows asked in other words, and to the same rows as they are; None without paraphrases.

    `paired` holds the former against the latter; rows that ask the same text are one draw of luck."""
    if not data.paraphrases or not student.io_spec:
        return None
    test, m = data.split("test"), data.paraphrased
    texts = test.inputs[m].to_pylist()
    rephrased = np.array([text in data.paraphrases for text in texts])
    rows = np.flatnonzero(rephrased[test.rows[m]] & ~test.lacks(m) & known(test.labels))
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(MAX_ROWS, len(rows))).astype(int))] if len(rows) else rows
    if not len(rows):
        return None
    session, gains, task = open_session(model), {}, data.task.with_facts(student.details.get("facts", {}))
    arrays = {port.name: modality(port.name).arrays(test.inputs[port.name], port, student.path) for port in student.io_spec.inputs}
    for name, words in (("value", [data.paraphrases.get(t, t) for t in texts]), ("original", texts)):
        inputs = {**arrays, m: modality(m).arrays(words, student.io_spec.input(m), student.path)}
        answers = []
        for start in range(0, len(rows), 64):
            part = rows[start : start + 64]
            feeds = {port: np.ascontiguousarray(array[np.asarray(test.rows[port])[part]]) for port, array in inputs.items()}
            answers.append(task.answers(session.run(feeds)["logits"]))
        gains[name] = task.gains(np.concatenate(answers), np.asarray(test.labels)[rows])  # (R,)
    paired = compare_paired(gains["value"], gains["original"], clusters=np.asarray(test.rows[m])[rows])
    return {
        **{name: float(hits.mean()) for name, hits in gains.items()},
        "paired": paired.to_json(),
        "samples": len(rows),
        "texts": len(data.paraphrases),
        "unknown_rate": unknown_rate(student.file("tokenizer.json"), data.paraphrases.values()),
    }
