"""Speech Commands v0.02: 105,829 recordings of 35 words by 2,618 speakers, 16 kHz (CC BY 4.0), as the authors' archive unpacks.

    curl -O http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz && mkdir speech_commands && tar -xzf speech_commands_v0.02.tar.gz -C speech_commands

The files are WORD/SPEAKER_nohash_TAKE.wav; validation_list.txt and testing_list.txt name those of two splits, and no speaker is in two of them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from compress.data.source import Source
from compress.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
FETCH = "'curl -O http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz' fetches it; unpack it with tar -xzf into a folder of its own"


def speech_commands(*, base: Path, path: str, words: list[str] | None = None) -> Source:
    """The recordings in `path` (relative to the recipe) of these `words` (all), in the authors' own splits; each speaker is a group.

    The background noises, which are no words, and the recordings of other words are counted and left out. The identity is that of the lists and of
    the files' names and sizes: to read 3 GB would take longer than all else that planning a run does.
    """
    root = base / path
    if not root.is_dir():
        raise DataError(f"data.options.path: {root} is not there; {FETCH}")
    if absent := [name for name in LISTS.values() if not (root / name).is_file()]:
        raise DataError(f"data.options.path: {root} has no {absent[0]}; {FETCH}")
    found = sorted(root.glob("*/*.wav"))
    spoken = [file for file in found if "_nohash_" in file.name]
    known = sorted({file.parent.name for file in spoken})
    if unknown := sorted(set(words or ()) - set(known)):
        raise DataError(f"data.options.words: nobody says {', '.join(unknown)}; there are {', '.join(known) or 'none'}")
    chosen = sorted(words or known)
    kept = [file for file in spoken if file.parent.name in chosen]
    counts = {"recording of no word": len(found) - len(spoken), "recording of another word": len(spoken) - len(kept)}
    return Source(
        identity=f"speech_commands {_digest(root, kept)}",
        read=lambda: _read(root, kept, chosen),
        licence="CC BY 4.0 (Pete Warden, Google)",
        left_out={reason: count for reason, count in counts.items() if count},
    )


def _digest(root: Path, files: list[Path]) -> str:
    """The sha256 over the lists, and the names and sizes of the recordings."""
    total = hashlib.sha256()
    for name in LISTS.values():
        total.update((root / name).read_bytes())
    for file in files:
        total.update(f"{file.parent.name}/{file.name} {file.stat().st_size}\n".encode())
    return total.hexdigest()


def _read(root: Path, files: list[Path], words: list[str]) -> dict[str, pa.Table]:
    import pyarrow as pa
    import pyarrow.compute as pc

    listed = {name: split for split, file in LISTS.items() for name in (root / file).read_text().split()}
    parts: dict[str, list[Path]] = {"train": [], "validation": [], "test": []}
    for file in files:
        parts[listed.get(f"{file.parent.name}/{file.name}", "train")].append(file)
    names = pa.array(words)
    tables = {}
    for split, part in parts.items():
        labels = pc.index_in(pa.array([file.parent.name for file in part], pa.string()), names)
        columns = {
            "audio": pa.array([str(file.resolve()) for file in part], pa.string()),
            "label": pa.DictionaryArray.from_arrays(labels, names),
            "group": pa.array([file.name.split("_nohash_")[0] for file in part], pa.string()),
        }
        tables[split] = pa.table(columns)
    return tables
