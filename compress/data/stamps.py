"""Tux Paint's stamps: some 800 pictures with their names in 80 languages and spoken in ten, in 16 categories (GPL-2), from Debian's package.

    apt-get download tuxpaint-stamps-default && dpkg -x tuxpaint-stamps-default_*.deb stamps

A picture is NAME.png, NAME.txt names it (English in the first line, then xx.utf8=... for each language), NAME_desc_xx.ogg says that name. The folder
right below `stamps` is the category. Pictures that are SVG alone, mirrored ones (NAME_mirror.png) and others that have no name are counted and left out.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compress.data.source import Source
from compress.errors import DataError, RecipeError

if TYPE_CHECKING:
    import pyarrow as pa

INSTALLED = Path("/usr/share/tuxpaint/stamps")
INSIDE = ("usr/share/tuxpaint/stamps", "stamps", ".")  # where the categories lie in an unpacked package, its part, or the folder itself
FETCH = "'apt-get download tuxpaint-stamps-default && dpkg -x tuxpaint-stamps-default_*.deb FOLDER' fetches them, no root needed"


@dataclass(frozen=True)
class Stamp:
    """A picture with what belongs to it."""

    name: str  # its path below `stamps`, without suffix: animals/birds/crow
    picture: Path
    names: dict[str, str]  # language -> what it is called
    spoken: dict[str, Path]  # language -> a recording of that

    @property
    def category(self) -> str:
        """The folder right below `stamps`."""
        return self.name.split("/", 1)[0]


def stamps(
    *,
    base: Path,
    path: str | None = None,
    language: str = "en",
    spoken: list[str] | None = None,
    least: int = 1,
    folds: int = 5,
    fold: int = 0,
    seed: int = 0,
    label: str = "category",
) -> Source:
    """The stamps in `path` (relative to the recipe; else of the installed package): a row for each picture and language that it is `spoken` in (fr).

    The text is the name in `language`, the same in each row of a picture; a picture that nobody speaks of is one row without a sound. Categories of
    fewer than `least` pictures are left out. `label`: category, or name, so that pictures that are called the same are alike. Test is the `fold`th of `folds` parts, dealt by `seed` picture by picture within each category.
    """
    check_fold(fold, folds)
    if label not in ("category", "name"):
        raise RecipeError(f"data.options.label: {label!r}; it is category or name")
    heard = list(spoken or ["fr"])
    found, left_out = find_stamps(base, path, heard)
    counts = Counter(stamp.category for stamp in found)
    if rare := sorted(name for name, count in counts.items() if count < least):
        left_out[f"picture of a category of fewer than {least}: {', '.join(rare)}"] = sum(counts[name] for name in rare)
    kept = [stamp for stamp in found if counts[stamp.category] >= least]
    if not kept:
        raise DataError(f"data.options.least: no category has {least} pictures; the largest has {max(counts.values())}")
    _check_languages(kept, language, heard)
    options = f"{language} {','.join(heard)} {least} {folds} {fold} {seed}" + (" by name" if label == "name" else "")
    return Source(
        identity=f"stamps {digest(kept)} {options}",
        read=lambda: _split(kept, language, heard, deal_test(kept, folds=folds, fold=fold, seed=seed), by_name=label == "name"),
        licence="GPL-2 (the artists of Tux Paint)",
        left_out=left_out,
    )


def check_fold(fold: int, folds: int) -> None:
    """Raises RecipeError for a fold that there is none of."""
    if not 0 <= fold < folds or folds < 2:
        raise RecipeError(f"data.options.fold: {fold}; folds are counted from 0 and there are {folds} of them, which must be 2 or more")


def find_stamps(base: Path, path: str | None, heard: list[str]) -> tuple[list[Stamp], dict[str, int]]:
    """All that can be read, in order of name, with recordings in these languages, and how many pictures are left out for which reason."""
    return _stamps(_root(base, path), heard)


def _root(base: Path, path: str | None) -> Path:
    """The folder of the categories."""
    place = INSTALLED if path is None else base / path
    if not place.is_dir():
        where = "data.options.path: not given, and" if path is None else "data.options.path:"
        raise DataError(f"{where} {place} is no folder of stamps; {FETCH}")
    for inside in INSIDE:
        if any((place / inside).glob("*/**/*.png")):
            return place / inside
    raise DataError(f"data.options.path: {place} holds no category with a PNG picture in it; {FETCH}")


def _stamps(root: Path, heard: list[str]) -> tuple[list[Stamp], dict[str, int]]:
    """All that can be read, in order of name, and how many pictures are left out for which reason."""
    found, nameless = [], 0
    pictures = sorted(file for file in root.glob("*/**/*.png"))
    for picture in pictures:
        names = picture.with_suffix(".txt")
        if not names.is_file():
            nameless += 1
            continue
        sounds = {code: picture.with_name(f"{picture.stem}_desc{'' if code == 'en' else f'_{code}'}.ogg") for code in heard}
        spoken = {code: file for code, file in sounds.items() if file.is_file()}
        found.append(Stamp(picture.relative_to(root).with_suffix("").as_posix(), picture, _names(names), spoken))
    drawn = len({file.with_suffix("") for file in root.glob("*/**/*.svg")} - {file.with_suffix("") for file in pictures})
    return found, {reason: count for reason, count in (("SVG picture", drawn), ("picture without a name", nameless)) if count}


def _names(file: Path) -> dict[str, str]:
    """What a picture is called in each language."""
    try:
        first, *others = file.read_text(encoding="utf-8").splitlines() or [""]
    except UnicodeDecodeError as error:
        raise DataError(f"data.options.path: {file} is not UTF-8: {error}") from error
    marked = (line.split(".utf8=", 1) for line in others if ".utf8=" in line)
    return {"en": first.strip(), **{code.strip(): name.strip() for code, name in marked}}


def _check_languages(found: list[Stamp], language: str, heard: list[str]) -> None:
    """Raises DataError for a language that names no picture, or in which none is spoken of."""
    known = {code for stamp in found for code, name in stamp.names.items() if name}
    if language not in known:
        raise DataError(f"data.options.language: no picture is named in {language!r}; there are {', '.join(sorted(known))}")
    for code in heard:
        if not any(code in stamp.spoken for stamp in found):
            raise DataError(
                f"data.options.spoken: no NAME_desc_{code}.ogg beside any picture; Debian's package has fr, ro, ru, ca, bg, es, el, be, da"
            )


def digest(found: list[Stamp]) -> str:
    """The sha256 over the content of all that is read, each under its name."""
    total = hashlib.sha256()
    for stamp in found:
        for file in (stamp.picture, stamp.picture.with_suffix(".txt"), *stamp.spoken.values()):
            with file.open("rb") as opened:
                total.update(f"{stamp.name} {file.name} {hashlib.file_digest(opened, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def deal_test(found: list[Stamp], *, folds: int, fold: int, seed: int) -> set[str]:
    """The names of the pictures of one fold: each category is shuffled by hash and dealt out where the one before it ended."""
    categories = defaultdict(list)
    for stamp in found:
        categories[stamp.category].append(stamp.name)
    order = [
        name for names in categories.values() for name in sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    ]
    return set(order[fold::folds])


def _split(found: list[Stamp], language: str, heard: list[str], test: set[str], *, by_name: bool) -> dict[str, pa.Table]:
    import pyarrow as pa
    import pyarrow.compute as pc

    rows: dict[str, list[tuple]] = {"train": [], "test": []}
    for stamp in found:
        part = rows["test" if stamp.name in test else "train"]
        inputs = str(stamp.picture.resolve()), stamp.names.get(language) or None
        told = (stamp.names.get(language) if by_name else stamp.category, stamp.name)
        sounds = [(*inputs, str(stamp.spoken[code].resolve()), *told, code) for code in heard if code in stamp.spoken]
        part += sounds or [(*inputs, None, *told, "unspoken")]
    names = ("image", "text", "audio", "label", "group", "kind")
    labels = pa.array(sorted({row[3] for part in rows.values() for row in part if row[3]}))
    tables = {}
    for split, part in rows.items():
        columns = {name: pa.array([row[place] for row in part], pa.string()) for place, name in enumerate(names)}
        columns["label"] = pa.DictionaryArray.from_arrays(pc.index_in(columns["label"], labels), labels)
        tables[split] = pa.table(columns)
    return tables
