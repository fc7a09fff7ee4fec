"""Paraphrases: texts of a data set in other words, because train and test may share every text there is."""

from __future__ import annotations

import csv
import difflib
import json
from pathlib import Path

from compress.data.prepared import PreparedData
from compress.errors import DataError


def read_paraphrases(path: Path, texts: list[str]) -> dict[str, str]:
    """text -> paraphrase from a CSV with these two columns; every text must be one of the data's `texts`.

    Raises: DataError naming line and value of every unusable row.
    """
    if not path.is_file():
        raise DataError(f"data.paraphrases: {path} is missing")
    known, found, problems = set(texts), {}, []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames is None or not {"text", "paraphrase"} <= set(reader.fieldnames):
            raise DataError(f"{path}: columns are {reader.fieldnames}, expected text and paraphrase")
        for row in reader:
            if row["text"] not in known:
                near = difflib.get_close_matches(row["text"], known, 1)
                problems.append(f"{path}:{reader.line_num} text {row['text']!r} is no text of the data" + (f" (did you mean {near[0]!r}?)" if near else ""))
            elif not (row["paraphrase"] or "").strip():
                problems.append(f"{path}:{reader.line_num} paraphrase of {row['text']!r} is empty")
            else:
                found[row["text"]] = row["paraphrase"]
    if problems:
        raise DataError("\n".join(problems[:5] + ([f"and {len(problems) - 5} more"] if len(problems) > 5 else [])))
    return found


def write_paraphrases(path: Path, data: PreparedData) -> None:
    """Puts the paraphrases of the CSV at `path` into the prepared data's folder."""
    texts = [t for split in ("train", "test") for t in data.split(split).inputs["text"].to_pylist()]
    (data.path / "paraphrases.json").write_text(json.dumps(read_paraphrases(path, texts), ensure_ascii=False, indent=1))
