"""Which column is the picture, the sound, the text, the label, the group: told by what columns hold first, and by their names second."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compress.errors import DataError
from compress.modalities.profiles import Profile, shown

IMAGE, AUDIO, TEXT = "image", "audio", "text"
ROLES = (IMAGE, AUDIO, TEXT, "label", "group")  # each has an option of `compress init` that names its column
NAMES = {
    "image": "image picture photo img pic file filename path bild foto scan jpg png",
    "audio": "audio sound wav speech voice track aufnahme ton klang son",
    "text": "text question utterance sentence comment review message title description body query prompt caption content document tweet txt frage satz",
    "label": "label class cls target category answer intent sentiment species tag topic outcome diagnosis grade y gt antwort klasse etikett kategorie "
    "etiqueta clase etiquette classe",
    "group": "group patient speaker scene subject session user participant person author customer family household video clip recording "
    "gruppe sprecher patientin nutzer",
    "id": "id uid uuid guid index idx row nr no number key nummer unnamed",
}
_OWN_NAME = {name: frozenset(words.split()) for name, words in NAMES.items()}
FILES = {IMAGE: "picture", AUDIO: "sound"}  # role of a column of files -> what they are
NAMED = 1.5  # what a name adds to a score, and takes from that of another role
CLOSE = 0.75  # two labels whose scores differ by less cannot be told apart
LEAST = 1.0  # a label or, beside a picture, a text below this score is none


@dataclass(frozen=True)
class Roles:
    """The column of each role that there is; and of every other column why it is left alone."""

    columns: dict[str, str]
    ignored: dict[str, str]


def decide_roles(profiles: Sequence[Profile], asked: Mapping[str, str], *, labelled: bool = True) -> Roles:
    """`asked` is role -> column where the user has said so; `labelled`: one of the others must be the label. Raises: DataError, with what was
    seen, where it cannot be told."""
    by_name = {one.name: one for one in profiles}
    for role, name in asked.items():
        if name not in by_name:
            raise _unclear(f"--{role} {name}: there is no such column", profiles, role)
    taken = dict(asked)
    free = [one for one in profiles if one.name not in taken.values()]
    usable = [one for one in free if one.distinct > 1 or one.form.startswith("missing ")]
    for role, form in FILES.items():
        if role not in taken and (found := _files(usable, profiles, role, form, bare="text" not in taken)):
            taken[role] = found.name
    usable = [one for one in usable if one.name not in taken.values() and one.form in ("words", "whole", "real")]
    if labelled and "label" not in taken:
        taken["label"] = _label(usable, profiles, taken).name
    if "label" in taken:
        _check_label(by_name[taken["label"]], profiles)
    usable = [one for one in usable if one.name not in taken.values()]
    if "text" not in taken and (text := _text(usable, bare=not labelled or not FILES.keys() & taken.keys())):
        taken["text"] = text.name
    if not {*FILES, "text"} & taken.keys():
        raise _unclear("no column holds pictures, sounds or texts to learn from", profiles, *FILES, "text")
    if "group" not in taken and (group := _group([one for one in usable if one.name not in taken.values()])):
        taken["group"] = group.name
    ignored = {one.name: _why_not(one, taken) for one in profiles if one.name not in taken.values()}
    return Roles({role: taken[role] for role in ROLES if role in taken}, ignored)


def hint(name: str) -> str | None:
    """The role that a column's name speaks of, "id" for row numbers, or None: `patient_id` and `speakerId` are groups, `file name` an image."""
    words = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-zà-ÿ])(?=[A-Z])", " ", name).lower()) or ["unnamed"]
    spoken = [role for role, own in _OWN_NAME.items() if any(word in own or word.removesuffix("s") in own for word in words)]
    return next((role for role in ("group", "label", "text", "image", "audio", "id") if role in spoken), None)


def label_score(one: Profile) -> float:
    """High where few short values come again and again, in the test file too."""
    return 2 * one.seen + one.repeated - 0.4 * min(max(one.words - 1, 0), 5) + _named(one, "label")


def text_score(one: Profile) -> float:
    """High where values are many words, and nearly every row has its own."""
    return 0.4 * min(max(one.words - 1, 0), 5) + (1 - one.repeated) + (1 - one.seen) + _named(one, "text")


def _named(one: Profile, role: str) -> float:
    spoken = hint(one.name)
    return 0.0 if spoken is None else NAMED if spoken == role else -NAMED


def _files(usable: list[Profile], profiles: Sequence[Profile], role: str, form: str, *, bare: bool) -> Profile | None:
    """The column of pictures, or of sounds; one whose name says so where there are several."""
    found = [one for one in usable if one.form == form]
    best = [one for one in found if hint(one.name) == role] if len(found) > 1 else found
    if len(best) == 1:
        return best[0]
    if found:
        raise _unclear(f"{len(found)} columns hold {form}s, and a model reads one of them", profiles, role)
    missing = [one for one in usable if one.form == f"missing {form}" or (one.form == "address" and role == IMAGE)]
    others = any(one.form in FILES.values() or (one.form == "words" and text_score(one) >= LEAST) for one in usable)
    if missing and bare and not others:
        what = (
            f"are addresses; fetch the {form}s first" if missing[0].form == "address" else "lie nowhere; paths start from the file's folder"
        )
        raise _unclear(f'the {form}s that column "{missing[0].name}" names {what}', profiles, role)
    return None


def _label(usable: list[Profile], profiles: Sequence[Profile], taken: Mapping[str, str]) -> Profile:
    """The best label, if it is one, and no other is as good."""
    likely = [one for one in usable if one.form != "real" and (one.repeated > 0 or hint(one.name) == "label")]
    scored = sorted(((label_score(one), index, one) for index, one in enumerate(likely)), reverse=True)
    named = next((one for one in profiles if hint(one.name) == "label" and one.name not in taken.values()), None)
    if named is not None and named.distinct <= 1 and not any(hint(one.name) == "label" for _, _, one in scored):
        _check_label(named, profiles)
    if not scored or scored[0][0] < LEAST:
        raise _unclear("no column looks like a label, a value that comes in many rows and in the test file too", profiles, "label")
    if len(scored) > 1 and scored[0][0] - scored[1][0] < CLOSE:
        raise _unclear(f'both "{scored[0][2].name}" and "{scored[1][2].name}" may be the label', profiles, "label")
    return scored[0][2]


def _check_label(one: Profile, profiles: Sequence[Profile]) -> None:
    if one.distinct <= 1:
        what = f"has one value in all rows, {one.example}" if one.filled else "is empty"
        raise _unclear(f'the label "{one.name}" {what}: there is nothing to tell apart', profiles, "label")


def _text(usable: list[Profile], *, bare: bool) -> Profile | None:
    """The column of texts. Beside pictures it has to look like one; alone (`bare`) any words do, but for ids and groups."""
    spoken = [one for one in usable if one.form == "words" and one.letters >= 0.5]
    free = [one for one in spoken if hint(one.name) not in ("id", "group")]
    best = max(free, key=text_score, default=None)
    if best is None or bare:
        return best
    codes = best.words < 1.5 and hint(best.name) != "text"  # one word a row beside a picture: ids, names of files, places
    return best if text_score(best) >= LEAST and not codes else None


def _group(usable: list[Profile]) -> Profile | None:
    """A column that its name calls a group, and whose values come several times; nothing else is taken for one."""
    found = [one for one in usable if hint(one.name) == "group" and one.form != "real" and one.repeated > 0]
    return max(found, key=lambda one: one.repeated, default=None)


def _why_not(one: Profile, taken: Mapping[str, str]) -> str:
    """Why a column is not read, for a comment."""
    if not one.filled:
        return "empty"
    if one.distinct == 1:
        return f"the same in every row, {one.example}"
    if one.form in FILES.values():
        return f"more {one.form}s; a model reads one a row"
    if one.form in ("missing picture", "missing sound", "file"):
        return "names of files"
    if one.form in ("address", "date", "other"):
        return {"address": "addresses", "date": "dates"}.get(one.form, one.form)
    if one.form == "real":
        return "numbers"
    if one.repeated == 0 and (one.words < 1.5 or hint(one.name) == "id"):
        return "another in every row, as ids are"
    if one.form == "words" and one.words >= 1.5 and one.repeated < 0.5:
        return "more texts; a model reads one a row" if "text" in taken else "texts"
    if one.repeated >= 0.5 and "group" not in taken:
        return f"{one.filled / one.distinct:.0f} rows a value; if rows of one value belong together, say --group {shown(one.name)}"
    return "neither picture, sound, text nor label"


def _unclear(what: str, profiles: Sequence[Profile], *roles: str) -> DataError:
    """One error: what is unclear, what each column holds, and the option that says it."""
    options = " or ".join(f"--{role} COLUMN" for role in roles)
    seen = "\n".join(f"  {one}" for one in profiles)
    return DataError(f"{what}; {options} says which it is. The columns are:\n{seen}")
