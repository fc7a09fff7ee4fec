"""Which column is what: on tables as people bring them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from compress.errors import DataError
from compress.modalities.profiles import Profile, profile
from compress.modalities.roles import Roles, decide_roles, hint

ROWS = 120
WORDS = "card bank money transfer lost help please today never account why where".split()


def texts(seed: int = 0, least: int = 4) -> list[str]:
    """As many different sentences as rows."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, least + i % 5)) + f" {i}?" for i in range(ROWS)]


def words(seed: int = 0) -> list[str]:
    """Texts of one word, few of them different."""
    return np.random.default_rng(seed).choice(WORDS, ROWS).tolist()


def labels(style: str, classes: int = 7, seed: int = 1) -> list[str]:
    return [style.format(k) for k in np.random.default_rng(seed).integers(classes, size=ROWS)]


def decide(folder: Path, columns: dict[str, list], **asked: str) -> Roles:
    """The roles of columns whose last quarter is the test file."""
    cut = ROWS * 3 // 4
    arrays = {name: (pa.chunked_array([values[:cut]]), pa.chunked_array([values[cut:]])) for name, values in columns.items()}
    return decide_roles([profile(name, train, test, folder=folder) for name, (train, test) in arrays.items()], asked)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a picture and what begins as a sound for each row."""
    place = tmp_path_factory.mktemp("rows")
    for index in range(ROWS):
        Image.new("L", (4, 4), index).save(place / f"{index}.png")
        (place / f"{index}.wav").write_bytes(b"RIFF\x24\0\0\0WAVEfmt ")
    return place


PICTURES = [f"{index}.png" for index in range(ROWS)]
SOUNDS = [f"{index}.wav" for index in range(ROWS)]


@pytest.mark.parametrize("style", ["{}", "{} ", "0{}", "класс {}", "类别 {}", "a, {}", 'the "{}"', "é-{}", "{}/x", "N/A {}"])
@pytest.mark.parametrize("name", ["label", "class", "Antwort", "column 3"])
def test_labels_of_any_style_are_found_beside_pictures_and_texts(folder: Path, style: str, name: str):
    roles = decide(folder, {"file name": PICTURES, "utterance": texts(), name: labels(style)})
    assert roles.columns == {"image": "file name", "text": "utterance", "label": name}
    assert decide(folder, {"Picture": PICTURES, name: labels(style)}).columns == {"image": "Picture", "label": name}
    assert decide(folder, {"a": texts(), name: labels(style)}).columns == {"text": "a", "label": name}


def test_sounds_are_found_alone_and_beside_others(folder: Path):
    answers, who = labels("{}"), [f"S{index % 9}" for index in range(ROWS)]
    assert decide(folder, {"file": SOUNDS, "speaker": who, "digit": answers}).columns == {
        "audio": "file",
        "label": "digit",
        "group": "speaker",
    }
    assert decide(folder, {"clip": SOUNDS, "transcript": texts(), "label": answers}).columns == {
        "audio": "clip",
        "text": "transcript",
        "label": "label",
    }
    found = decide(folder, {"photo": PICTURES, "voice": SOUNDS, "question": texts(), "label": answers})
    assert list(found.columns) == ["image", "audio", "text", "label"]
    two = {"a": SOUNDS, "b": SOUNDS[::-1], "label": answers}
    assert decide(folder, two, audio="b").ignored == {"a": "more sounds; a model reads one a row"}


def test_content_counts_more_than_names(folder: Path):
    roles = decide(folder, {"label": PICTURES, "image": texts(least=8), "text": labels("{}")})
    assert roles.columns == {"image": "label", "text": "image", "label": "text"}


@pytest.mark.parametrize(("text", "label"), [("question", "Antwort"), ("utterance", "class"), ("text", "label")])
@pytest.mark.parametrize("style", ["{}", "класс {}", "a, {}"])
def test_texts_of_one_word_are_told_from_labels_by_their_names(folder: Path, text: str, label: str, style: str):
    assert decide(folder, {text: words(), label: labels(style, 40)}).columns == {"text": text, "label": label}


def test_texts_of_one_word_without_names_are_asked_for(folder: Path):
    with pytest.raises(DataError, match=r'both "[ab]" and "[ab]" may be the label; --label COLUMN'):
        decide(folder, {"a": words(), "b": labels("k{}", 12)})
    assert decide(folder, {"a": words(), "b": labels("k{}", 12)}, label="b").columns == {"text": "a", "label": "b"}


def test_rows_of_many_classes_and_few_rows_have_a_label(folder: Path):
    assert decide(folder, {"text": texts(), "label": labels("{}", 77)}).columns["label"] == "label"


def test_ids_constants_and_blanks_are_left_alone_and_said_so(folder: Path):
    roles = decide(
        folder,
        {
            "": [str(index) for index in range(ROWS)],
            "code": [f"A-{index:04}" for index in range(ROWS)],
            "image": PICTURES,
            "split": ["all"] * ROWS,
            "note": [""] * ROWS,
            "weight": [index / 7 for index in range(ROWS)],
            "label": labels("{}"),
        },
    )
    assert roles.columns == {"image": "image", "label": "label"}
    assert roles.ignored == {
        "": "another in every row, as ids are",
        "code": "another in every row, as ids are",
        "split": 'the same in every row, "all"',
        "note": "empty",
        "weight": "numbers",
    }


def test_groups_are_known_by_name_alone(folder: Path):
    repeated = [f"P{index % 9}" for index in range(ROWS)]
    columns = {"image": PICTURES, "label": labels("{}")}
    assert decide(folder, {**columns, "patient_id": repeated}).columns["group"] == "patient_id"
    unnamed = decide(folder, {**columns, "site": repeated})
    assert "group" not in unnamed.columns
    assert unnamed.ignored["site"] == '10 rows a value; if rows of one value belong together, say --group "site"'
    assert decide(folder, {**columns, "site": repeated}, group="site").columns["group"] == "site"
    assert "group" not in decide(folder, {**columns, "user": PICTURES}).columns  # every row its own: keeps nothing together


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("file name", "image"),
        ("Picture", "image"),
        ("wav path", "image"),  # a path may be anything: what the files hold decides
        ("Sound", "audio"),
        ("questions", "text"),
        ("Antwort", "label"),
        ("speakerId", "group"),
        ("patient_id", "group"),
        ("row_id", "id"),
        ("", "id"),
        ("x1", None),
        ("classified", None),
    ],
)
def test_hint_reads_words_of_names(name: str, role: str | None):
    assert hint(name) == role


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"front": PICTURES, "back": PICTURES[::-1], "label": labels("{}")}, "2 columns hold pictures"),
        ({"text": texts(), "other": texts(1)}, "no column looks like a label"),
        ({"text": texts(), "label": ["one"] * ROWS}, 'the label "label" has one value in all rows, "one"'),
        ({"text": texts(), "label": [""] * ROWS}, 'the label "label" is empty'),
        ({"age": labels("{}", 30), "label": labels("{}")}, "no column holds pictures, sounds or texts"),
        ({"image": [f"no/{name}" for name in PICTURES], "label": labels("{}")}, 'the pictures that column "image" names lie nowhere'),
        ({"front": SOUNDS, "back": SOUNDS[::-1], "label": labels("{}")}, "2 columns hold sounds, and a model reads one of them; --audio"),
        ({"x": [f"no/{name}" for name in SOUNDS], "label": labels("{}")}, 'the sounds that column "x" names lie nowhere'),
        ({"image": PICTURES, "label": labels("{}"), "class": labels("k{}")}, 'both "class" and "label" may be the label'),
    ],
    ids=[
        "two pictures",
        "no label",
        "one class",
        "empty label",
        "no input",
        "missing pictures",
        "two sounds",
        "missing sounds",
        "two labels",
    ],
)
def test_what_cannot_be_told_is_one_error_with_the_columns_and_the_option(folder: Path, columns: dict, says: str):
    with pytest.raises(DataError, match=says) as caught:
        decide(folder, columns)
    lines = str(caught.value).splitlines()
    assert "COLUMN says which it is" in lines[0]
    assert len(lines) == 1 + len(columns)


def test_an_asked_column_has_to_be_there(folder: Path):
    with pytest.raises(DataError, match="--label klass: there is no such column"):
        decide(folder, {"text": texts(), "class": labels("{}")}, label="klass")


def test_several_texts_leave_the_longest_and_name_the_others(folder: Path):
    roles = decide(folder, {"title": texts(least=2), "body": texts(1, least=7), "label": labels("{}")})
    assert roles.columns["text"] == "body"
    assert roles.ignored == {"title": "more texts; a model reads one a row"}


def test_a_profile_with_no_rows_says_so():
    assert str(Profile("x", "words", 3, 0, 0, 0, 0, 0, "")) == '"x": empty'
