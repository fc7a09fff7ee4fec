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
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets write a byte order mark
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file in UTF-8: {error}") from error
    if not {"text", "paraphrase"} <= set(columns):
        raise DataError(f"{path}: columns are {list(columns)}, expected text and paraphrase")
    for line, row in rows:
        text, paraphrase = row["text"], row["paraphrase"] or ""
        if text not in known:
            near = difflib.get_close_matches(text, known, 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            problems.append(f"{path}:{line} text {text!r} is no text of the data{hint}")
        elif not paraphrase.strip():
            problems.append(f"{path}:{line} paraphrase of {text!r} is empty")
        elif text in found:
            problems.append(f"{path}:{line} text {text!r} has a paraphrase already")
        else:
            found[text] = paraphrase
    if problems:
        raise DataError("\n".join(problems[:5] + ([f"and {len(problems) - 5} more"] if len(problems) > 5 else [])))
    return found


def write_paraphrases(path: Path, data: PreparedData) -> None:
    """Puts the paraphrases of the CSV at `path` into the prepared data's folder."""
    texts = [t for split in ("train", "test") for t in data.split(split).inputs[data.paraphrased].to_pylist()]
    (data.path / "paraphrases.json").write_text(json.dumps(read_paraphrases(path, texts), ensure_ascii=False, indent=1))
