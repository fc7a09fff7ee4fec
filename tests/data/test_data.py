"""The table of data sets, and what importing it costs."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from compress.data.prepare import prepare
from compress.recipe.options import check_options
from compress.tables import DATASETS, resolve


@pytest.fixture
def options(rows: dict, write_csv: Callable, tmp_path: Path) -> dict[str, dict]:
    """Good options of each data set."""
    import datasets

    for split, some in rows.items():
        write_csv(tmp_path / f"{split}.csv", some)
    tables = {split: datasets.Dataset.from_list(some).cast_column("text", datasets.Value("string")) for split, some in rows.items()}
    datasets.DatasetDict(tables).save_to_disk(str(tmp_path))
    for digit, speaker, take in itertools.product(range(2), ("george", "jackson", "theo"), range(8)):
        soundfile.write(tmp_path / f"{digit}_{speaker}_{take}.wav", np.full(8, (digit + 1) * (take + 1) / 100), 8000)
    return {
        "easy_vqa": {},
        "manifest": {"train": "train.csv", "test": "test.csv"},
        "hub": {"folder": "."},
        "webdataset": draw_shards(tmp_path / "shards"),
        "fsdd": {"path": ".", "test_speakers": ["theo"]},
        "stamps": draw_stamps(tmp_path / "stamps"),
        "stamp_scenes": {**draw_stamps(tmp_path / "scenes"), "kinds": ["a", "b"], "train": 12, "test": 6, "size": 16},
        "speech_commands": draw_commands(tmp_path / "commands"),
        "vqa": draw_vqa(tmp_path / "vqa"),
        "imagenet": draw_imagenet(tmp_path / "imagenet"),
        "groceries": draw_groceries(tmp_path / "groceries"),
    }


def picture(path: Path, shade: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(shade).integers(0, 256, (12, 12, 3), np.uint8)).save(path)
    return path


def sound(path: Path, tone: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.sin(np.arange(400) * tone / 50) / 2, 8000)


def draw_shards(root: Path) -> dict:
    """Twelve pictures with a word and six, three samples a shard."""
    root.mkdir()
    for i in range(18):
        with tarfile.open(root / f"{i // 3:02}.tar", "a") as shard:
            shard.add(picture(root / f"{i}.png", i), f"{i:04}.png")
            for extension, content in (("txt", f"thing {i}".encode()), ("cls", b"%d" % (i % 2))):
                member = tarfile.TarInfo(f"{i:04}.{extension}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
    return {"train": f"{root.name}/{{00..03}}.tar", "test": [f"{root.name}/04.tar", f"{root.name}/05.tar"]}


def draw_stamps(root: Path) -> dict:
    """24 pictures of two categories, one of them spoken of; every third is of the test fold."""
    for i in range(24):
        picture(root / "ab"[i % 2] / f"{i}.png", i).with_suffix(".txt").write_text(f"thing {i}\n")
    sound(root / "a" / "0_desc_fr.ogg", 3)
    return {"path": root.name, "folds": 3}


def draw_commands(root: Path) -> dict:
    """Two words by 12 speakers, four of whom are of the test list."""
    names = [f"{word}/{speaker}_nohash_0.wav" for word in ("no", "yes") for speaker in "abcdefghijkl"]
    for tone, name in enumerate(names, 1):
        sound(root / name, tone)
    (root / "testing_list.txt").write_text("".join(f"{name}\n" for name in names if name.split("/")[1][0] in "abcd"))
    (root / "validation_list.txt").write_text("".join(f"{name}\n" for name in names if name.split("/")[1][0] == "e"))
    return {"path": root.name}


def draw_vqa(root: Path) -> dict:
    """A question to each of 12 and of 6 pictures."""
    for part, count in (("train2014", 12), ("val2014", 6)):
        asked = [{"image_id": i, "question": f"what is {i % 3}?", "question_id": i} for i in range(count)]
        told = [
            {"question_id": i, "image_id": i, "multiple_choice_answer": ["yes", "no"][i % 2], "answer_type": "yes/no"} for i in range(count)
        ]
        for i in range(count):
            picture(root / part / f"COCO_{part}_{i:012d}.jpg", i + 100 * count)
        (root / f"v2_OpenEnded_mscoco_{part}_questions.json").write_text(json.dumps({"questions": asked}))
        (root / f"v2_mscoco_{part}_annotations.json").write_text(json.dumps({"annotations": told}))
    (root / "config.json").write_text(json.dumps({"label2id": {"yes": 1, "no": 0}}))
    return {"path": root.name, "answers": f"{root.name}/config.json"}


def draw_imagenet(root: Path) -> dict:
    """Twelve photographs and six of two classes."""
    for part, count in (("train", 12), ("val", 6)):
        for i in range(count):
            picture(root / part / f"n0{i % 2}" / f"{i}.JPEG", i + 100 * count)
    return {"path": root.name, "names": {"n00": "tench", "n01": "church"}}


def draw_groceries(root: Path) -> dict:
    """Twelve photographs and six of two kinds, their files' content in one table."""
    files = [picture(root / f"{i}.png", i) for i in range(18)]
    columns = {
        "dataset": [("train", "val", "test")[i % 3] for i in range(18)],
        "coarse_cat": ["Apple"] * 18,
        "finegrained_cat": [("Royal-Gala", "Pink-Lady")[i // 3 % 2] for i in range(18)],
        "image_data": [file.read_bytes() for file in files],
    }
    pq.write_table(pa.table(columns), root / "images.parquet")
    return {"path": f"{root.name}/images.parquet"}


@pytest.mark.parametrize("name", DATASETS)
def test_dataset_opens_checks_and_prepares(name: str, options: dict, config: Callable, tmp_path: Path) -> None:
    function = resolve(DATASETS[name])
    assert check_options(function, options[name], "data.options", injected={"base"}) == []
    source = function(base=tmp_path, **options[name])
    assert source.identity and source.identity == function(base=tmp_path, **options[name]).identity
    sounds, both = {"audio": {"seconds": 0.01, "rate": 8000}}, {"image": {"size": 8}, "text": {"length": 8}}
    pictures = {"image": {"size": 8}}
    inputs = {
        "fsdd": sounds,
        "speech_commands": sounds,
        "imagenet": pictures,
        "groceries": pictures,
        "stamp_scenes": {"image": {"size": 32}},
    }.get(name, both)
    limits = config(train_limit=8, test_limit=4, inputs=inputs, task="segmentation" if name == "stamp_scenes" else "single_label")
    report = prepare(source, limits, tmp_path / "out", say=lambda line: None)
    assert report["splits"]["train"]["inputs"][next(iter(inputs))] == 8
    assert report["splits"]["test"]["inputs"][next(iter(inputs))] == 4


@pytest.mark.parametrize("name", DATASETS)
def test_dataset_refuses_an_unknown_option(name: str) -> None:
    assert check_options(resolve(DATASETS[name]), {"trian": "a"}, "data.options", injected={"base"})[0].startswith(
        "data.options.trian: unknown option"
    )


def test_importing_the_table_and_its_functions_imports_nothing_heavy() -> None:
    code = (
        "import sys; from compress.tables import DATASETS, resolve; [resolve(entry) for entry in DATASETS.values()]; "
        "print([m for m in ('torch', 'pyarrow', 'datasets', 'numpy', 'PIL') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root).stdout.strip() == "[]"
