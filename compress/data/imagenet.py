"""Photographs in the folders of ImageNet: train/WNID/*.JPEG and val/WNID/*.JPEG, as ImageNet and its small relatives (Imagenette, Imagewoof) unpack.

curl https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-320.tgz | tar -xz
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from compress.data.source import Source
from compress.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

FOLDERS = {"train": "train", "test": "val"}
SUFFIXES = {".jpeg", ".jpg", ".png"}
FETCH = "'curl https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-320.tgz | tar -xz' fetches ten of its classes"


def imagenet(*, base: Path, path: str, names: dict[str, str]) -> Source:
    """The photographs in `path` (relative to the recipe) of the classes in `names`: WordNet's number, which names the folder, to the label.

    Labels are in the order of `names`; to have a published classifier as the teacher, give them its own names. Folders of other classes are counted
    and left out. The identity is that of the files' names and sizes, for the whole of ImageNet is too much to read for a plan.
    """
    root = base / path
    if not names:
        raise DataError("data.options.names: empty; give each class as WNID: name")
    found: dict[str, dict[str, list[Path]]] = {}
    for split, folder in FOLDERS.items():
        if not (root / folder).is_dir():
            raise DataError(f"data.options.path: {root / folder} is not there; {FETCH}")
        if absent := [number for number in names if not (root / folder / number).is_dir()]:
            raise DataError(f"data.options.names: {root / folder} has no folder {absent[0]} ({names[absent[0]]})")
        found[split] = {number: _pictures(root / folder / number) for number in names}
    others = [folder for part in FOLDERS.values() for folder in (root / part).iterdir() if folder.is_dir() and folder.name not in names]
    count = sum(len(_pictures(folder)) for folder in others)
    total = hashlib.sha256(repr(names).encode())
    for split, classes in found.items():
        for number, files in classes.items():
            total.update("".join(f"{split} {number} {file.name} {file.stat().st_size}\n" for file in files).encode())
    return Source(
        identity=f"imagenet {total.hexdigest()}",
        read=lambda: {split: _table(classes, names) for split, classes in found.items()},
        licence="ImageNet's terms of access: research that is not commercial",
        left_out={"photograph of another class": count} if count else {},
    )


def _pictures(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)


def _table(classes: dict[str, list[Path]], names: dict[str, str]) -> pa.Table:
    import pyarrow as pa

    order = list(names)
    codes = [order.index(number) for number, files in classes.items() for _ in files]
    images = [str(file.resolve()) for files in classes.values() for file in files]
    label = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array([names[number] for number in order]))
    return pa.table({"image": pa.array(images, pa.string()), "label": label})
