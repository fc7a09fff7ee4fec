"""What another model knows of a row as an input of the student: a column of numbers beside a text that says nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from compress.data.prepared import open_data
from compress.models.saved import load_model
from compress.pipeline import run
from compress.recipe.grammar import load_recipe
from compress.training.batches import Batches
from compress.training.loop import predict
from compress.training.rows import open_rows

RECIPE = """\
name: vectors
data:
  source: manifest
  options: {train: train.parquet, test: test.parquet}
  inputs: {text: {length: 6}, numbers: {size: 8}}
  allow_missing: true
teacher: {source: answers, path: answers.csv, form: probabilities}
student:
  encoders: {text: {model: bag, vocab: own, options: {width: 8}}, numbers: {model: mlp, options: {width: 8}}}
  head_width: 16
distill: {train: {epochs: 30, batch_size: 32, learning_rate: 1.0e-2, modality_dropout: 0.2}}
"""


def test_student_reads_what_another_model_made_of_a_row(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    answers, axis = ["id,glad,sad"], draw.normal(size=8)  # the source model's vectors lie to either side along an axis of its own
    for split, count in (("train", 240), ("test", 80)):
        moods = draw.integers(2, size=count)
        vectors = (2 * moods[:, None] - 1) * axis + 0.5 * draw.normal(size=(count, 8))
        texts = [f"day {number} of the {draw.choice(['sun', 'rain', 'song'])}" for number in range(count)]
        columns = {
            "id": [f"{split}-{number}" for number in range(count)],
            "text": texts,
            "label": [("sad", "glad")[mood] for mood in moods],
        }
        table = pa.table(columns)
        table = table.append_column("numbers", pa.array(vectors.tolist(), pa.list_(pa.float32())))
        pq.write_table(table, tmp_path / f"{split}.parquet")
        answers += [f"{name},{0.9 if mood else 0.1},{0.1 if mood else 0.9}" for name, mood in zip(columns["id"], moods, strict=True)]
    (tmp_path / "answers.csv").write_text("\n".join(answers))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    made = run(load_recipe(tmp_path / "recipe.yaml"), runs=tmp_path / "runs", threads=1, last="distill", say=lambda _: None).artifacts
    student, data = made["distill"], open_data(made["data"].path)
    rows = open_rows(data.split("test"), student.io_spec, student.path)
    assert data.task.score(predict(load_model(student.path), Batches(rows, 64, shuffle=False)), rows.labels) > 0.95
