"""What is kept for the next training: whole rows with names of their own making, nothing twice, nothing beyond the cap, and a recipe reads them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from compress.errors import CompressError
from compress.serving.app import make_app
from compress.serving.kept import FILES, ROWS, Kept
from compress.serving.requests import Limits
from compress.serving.served import Served

TEXT = "what colour is the square ?"


def jpeg(seed: int, **more: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 18, 3), np.uint8)).save(file, "JPEG", **more)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@pytest.fixture
def make_keeper(served: Served, folder: Path) -> Iterator[Callable[..., TestClient]]:
    """A client of a server that keeps at most so many bytes."""

    def make(most_bytes: int = 10**6) -> TestClient:
        kept = Kept(folder, served.bundle, most_bytes=most_bytes)
        app = make_app(served, hosts=("localhost",), limits=Limits(), kept=kept)
        return TestClient(app, base_url="http://localhost:8321", raise_server_exceptions=False)

    yield make


@pytest.fixture
def keeper(make_keeper: Callable[..., TestClient]) -> TestClient:
    return make_keeper()


def test_an_answer_that_is_a_file_is_not_taken(served: Served, folder: Path) -> None:
    bundle = replace(served.bundle, task="segmentation")
    with pytest.raises(CompressError, match="the right answer to segmentation is a picture, which the page cannot take; leave --keep out"):
        Kept(folder, bundle, most_bytes=10**6)
    assert not folder.exists()


def keep(client: TestClient, picture: bytes, label: str, text: str = TEXT, name: str = "x.jpg") -> Any:
    return client.post("/keep", files={"image": (name, picture)}, data={"text": text, "label": label})


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / ROWS).read_text().splitlines()] if (folder / ROWS).exists() else []


def test_kept_row_has_the_pixels_alone_under_a_name_of_its_own_making(keeper: TestClient, folder: Path) -> None:
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "taken at home", 6  # ImageDescription; Orientation: turned by a quarter
    sent = jpeg(0, exif=exif, icc_profile=b"profile", comment=b"a comment")
    response = keep(keeper, sent, "red", name="../../home.jpg")
    assert response.json() == {"kept": True}
    (row,) = rows(folder)
    assert (row["text"], row["label"]) == (TEXT, "red") and set(row) == {"key", "image", "text", "label"}
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert sorted(files) == sorted([row["image"], ROWS]) and row["image"].startswith(f"{FILES}/") and "home" not in row["image"]
    content = (folder / row["image"]).read_bytes()
    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.size, image.info, len(image.getexif())) == ("PNG", (12, 18), {}, 0)  # turned as it is looked at
        seen = np.asarray(image)
    with Image.open(io.BytesIO(sent)) as image:
        np.testing.assert_array_equal(seen, np.rot90(np.asarray(image), -1))
    assert b"home" not in content and b"comment" not in content


def test_json_and_a_form_keep_the_same_row_once(keeper: TestClient, folder: Path) -> None:
    body = {"image": {"base64": base64.b64encode(jpeg(0)).decode()}, "text": TEXT, "label": "red"}
    assert [keep(keeper, jpeg(0), "red").json(), keeper.post("/keep", json=body).json()] == [{"kept": True}, {"kept": False}]
    assert len(rows(folder)) == 1
    refused = keep(keeper, jpeg(0), "blue")
    assert refused.status_code == 400 and f"has the key {rows(folder)[0]['key']}" in refused.json()["error"]


def test_what_was_kept_is_known_after_a_restart(make_keeper: Callable[..., TestClient], folder: Path) -> None:
    assert keep(make_keeper(), jpeg(0), "red").json() == {"kept": True}
    assert keep(make_keeper(), jpeg(0), "red").json() == {"kept": False}
    used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert keep(make_keeper(used + 100), jpeg(1), "red").status_code == 507  # what was there counts


def test_nothing_is_kept_beyond_the_cap(make_keeper: Callable[..., TestClient], folder: Path) -> None:
    client, most = make_keeper(5_000), 5_000
    statuses = [keep(client, jpeg(seed), "red").status_code for seed in range(12)]
    assert set(statuses) == {200, 507} and statuses == sorted(statuses)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= most
    assert len(rows(folder)) == statuses.count(200) == len(list((folder / FILES).iterdir()))
    assert keep(client, jpeg(0), "red").json() == {"kept": False}  # what is there needs no room
    assert keep(client, jpeg(99), "red").json()["error"] == "there is no room for it: at most 0.005 MB are kept"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "green"}, "label: 'green' is no label of the training split"),
        ({"label": " "}, "send the right answer as label"),
        ({"label": [1]}, "send the right answer as label"),
        ({"label": "../../red"}, "is no label"),
        ({"label": "x" * 20_000}, "texts of at most 10,000 characters"),
        ({"text": "x" * 20_000}, "texts of at most 10,000 characters"),
        ({"text": "\ud800"}, "holds what is no character"),
        ({"sample": 0}, "values of your own"),
        ({"image": "/etc/passwd"}, "send the file itself"),
        ({"image": {"base64": "AAAA"}}, "not an image"),
        ({"id": "x"}, "send one value for each of: image, text"),
    ],
)
def test_what_is_no_row_is_not_kept(keeper: TestClient, folder: Path, change: dict[str, Any], message: str) -> None:
    body = {"image": {"base64": base64.b64encode(jpeg(0)).decode()}, "text": TEXT, "label": "red", **change}
    response = keeper.post("/keep", content=json.dumps(body), headers={"content-type": "application/json"})
    assert response.status_code == 400 and message in response.json()["error"]
    assert rows(folder) == [] and list((folder / FILES).iterdir()) == []


def test_keeping_is_off_unless_asked_for(client: TestClient, keeper: TestClient) -> None:
    assert keep(client, jpeg(0), "red").status_code == 404
    assert "Nothing that is sent is kept" in client.get("/").text and 'id="wrong"' not in client.get("/").text
    assert "/keep" not in client.get("/openapi.json").json()["paths"]
    page, document = keeper.get("/").text, keeper.get("/openapi.json").json()
    assert 'id="wrong" hidden' in page and '<option value="blue">' in page and "Nothing that is sent is kept" not in page
    keeping = document["paths"]["/keep"]["post"]
    assert keeping["requestBody"]["content"]["multipart/form-data"]["schema"]["required"] == ["image", "text", "label"]
    assert {"200", "400", "507"} <= set(keeping["responses"])


def test_folder_that_holds_something_else_is_refused(served: Served, folder: Path) -> None:
    with pytest.raises(CompressError, match="lies in the bundle"):
        Kept(served.bundle.folder / "kept", served.bundle, most_bytes=10**6)
    folder.mkdir()
    for line, message in (
        ('{"key": "1", "text": "x", "label": "red"}', "this bundle reads image, text"),
        ("{", "no row as they are written"),
    ):
        (folder / ROWS).write_text(f"{line}\n")
        with pytest.raises(CompressError, match=message):
            Kept(folder, served.bundle, most_bytes=10**6)


RECIPE = """\
name: again
data:
  source: manifest
  options: {train: [train.csv, kept/rows.jsonl], test: kept/rows.jsonl}
  inputs: {image: {size: 8}, text: {length: 6}}
  validation_fraction: 0.25
teacher: {source: fit, encoders: {image: {model: efficientnet_lite2}, text: {model: minilm_l6}}}
student: {encoders: {image: {model: mobilenet_v4}, text: {options: {layers: 1, width: 32, heads: 1, feedforward: 64}}}}
"""


def test_recipe_reads_what_was_kept(keeper: TestClient, folder: Path) -> None:
    from compress.pipeline import run
    from compress.recipe.grammar import load_recipe

    for seed in range(8):
        assert keep(keeper, jpeg(seed), ("red", "blue")[seed % 2], text=f"2024-01-0{seed + 1}").status_code == 200
    (folder.parent / "again.yaml").write_text(RECIPE)
    (folder.parent / "one.jpg").write_bytes(jpeg(8))
    (folder.parent / "train.csv").write_text("image,text,label,kind\none.jpg,what is it?,no,other\n")
    result = run(load_recipe(folder.parent / "again.yaml", []), runs=folder.parent / "runs", threads=1, say=lambda _: None, last="data")
    path = result.artifacts["data"].path
    assert path and json.loads((path / "labels.json").read_text()) == ["blue", "no", "red"]
    assert np.load(path / "test" / "rows_image.npy").shape == (8,)
