"""Shards: what of a tar file becomes which column, what is told of broken ones, and that nothing of them is copied into memory."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from compress.data import webdataset as module
from compress.data.prepare import prepare
from compress.data.survey import survey
from compress.data.webdataset import expand, webdataset
from compress.errors import DataError
from compress.recipe.choices import choose
from compress.recipe.grammar import load_recipe
from compress.recipe.writer import recipe_text


def write(path: Path, files: Mapping[str, bytes | str | tarfile.TarInfo]) -> Path:
    """A tar file of these members; a TarInfo is one without content."""
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if isinstance(content, tarfile.TarInfo) else content.encode() if isinstance(content, str) else content
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def shards(tmp_path: Path, make_png: Callable[..., bytes]) -> dict[str, str]:
    """Two shards of train with three samples each, one of test: pictures, texts, class numbers and a json."""
    for name, first in (("train-00.tar", 0), ("train-01.tar", 3), ("test.tar", 6)):
        files: dict[str, bytes | str] = {}
        for i in range(first, first + 3):
            files[f"{i:04}.png"] = make_png((40 * i, 0, 0))
            files[f"{i:04}.txt"] = f"number {i}\n"
            files[f"{i:04}.cls"] = f"{i % 2}\n"
            files[f"{i:04}.json"] = json.dumps({"answer": "ab"[i % 2], "meta": {"site": f"s{i}"}, "size": i})
        write(tmp_path / name, files)
    return {"train": "train-{00..01}.tar", "test": "test.tar"}


def read(base: Path, **options: object) -> dict[str, pa.Table]:
    return webdataset(base=base, **options).read()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "pattern, names",
    [
        ("a.tar", ["a.tar"]),
        ("a-{08..10}.tar", ["a-08.tar", "a-09.tar", "a-10.tar"]),
        ("{8..10}", ["8", "9", "10"]),
        ("{a,b}/{0..1}.tar", ["a/0.tar", "a/1.tar", "b/0.tar", "b/1.tar"]),
    ],
)
def test_patterns_stand_for_the_names_that_a_shell_gives(pattern: str, names: list[str]):
    assert expand(pattern) == names


def test_samples_are_rows_of_the_usual_extensions(shards: dict, tmp_path: Path, make_png: Callable[..., bytes]):
    train = read(tmp_path, **shards)["train"]
    assert train.column("text").to_pylist() == [f"number {i}" for i in range(6)]
    assert train.column("label").to_pylist() == ["0", "1"] * 3
    assert train.column("image").to_pylist() == [make_png((40 * i, 0, 0)) for i in range(6)]
    assert train.column("id").to_pylist() == [f"train-0{i // 3}.tar/{i:04}" for i in range(6)]
    assert pa.types.is_binary_view(train.column("image").type)


def test_a_shard_larger_than_a_place_in_a_buffer_is_seen_through_windows(
    shards: dict, tmp_path: Path, make_png: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "WINDOW", 1000)  # one for every two members
    train = read(tmp_path, **shards)["train"]
    train.validate(full=True)
    assert train.column("image").to_pylist() == [make_png((40 * i, 0, 0)) for i in range(6)]


def test_columns_name_extensions_and_values_of_a_json(shards: dict, tmp_path: Path):
    columns = {"image": "jpg;png", "label": "json.answer", "group": "json.meta.site", "id": "json.size"}
    train = read(tmp_path, **shards, columns=columns, slices=["cls"])["train"]
    assert train.column("label").to_pylist() == ["a", "b"] * 3
    assert train.column("group").to_pylist() == [f"s{i}" for i in range(6)]
    assert train.column("id").to_pylist() == [str(i) for i in range(6)]
    assert train.column("slice cls").to_pylist() == ["0", "1"] * 3
    heads = read(tmp_path, **shards, data_heads={"kind": "cls", "size": "json.size"})["train"]
    assert heads.column("label").to_pylist()[1] == {"kind": "1", "size": "1"}


def test_a_picture_is_a_file_and_no_path_that_a_json_names(shards: dict, tmp_path: Path):
    with pytest.raises(DataError, match=r"data.options.columns.image: 'json.path'; give the extension of a file"):
        read(tmp_path, **shards, columns={"image": "json.path"})


def test_an_extension_that_no_sample_has_is_told_with_those_that_there_are(shards: dict, tmp_path: Path):
    with pytest.raises(
        DataError, match=r"data.options.train: no sample has 'json.answr' \(did you mean 'json.answer'\?\); there are cls, json.answer"
    ):
        read(tmp_path, **shards, columns={"label": "json.answr"})


def test_members_that_lack_are_counted_rows_with_shard_and_key(
    shards: dict, tmp_path: Path, config: Callable, make_png: Callable[..., bytes]
):
    bad = {"0009.png": make_png((9, 9, 9)), "0009.txt": "no label", "0010.txt": "no picture", "0010.cls": "1"}
    write(tmp_path / "bad.tar", bad | {"0011.png": b"no picture at all", "0011.txt": "broken", "0011.cls": "0"})
    source = webdataset(base=tmp_path, train=[shards["train"], "bad.tar"], test="test.tar")
    with pytest.raises(DataError) as error:
        prepare(source, config(), tmp_path / "out", say=lambda line: None)
    assert "no image: 1 row\n    train row 8: bad.tar/0010: blank cell" in str(error.value)
    assert "no label: 1 row\n    train row 7: bad.tar/0009: blank cell" in str(error.value)
    report = prepare(source, config(on_bad_row="skip"), tmp_path / "skipped", say=lambda line: None)
    assert report["skipped"]["rows"] == 3
    assert any(e["value"].startswith("bad.tar/0011: ") for why in report["skipped"]["reasons"].values() for e in why["examples"])


@pytest.mark.parametrize(
    "keep, said", [(2000, "at or behind '0001.cls'"), (512 * 6, "damaged or cut off"), (0, "damaged or cut off, 0 bytes")]
)
def test_a_shard_that_is_cut_off_is_told_with_the_last_name(keep: int, said: str, tmp_path: Path):
    write(tmp_path / "test.tar", {"0001.txt": "a"})
    whole = write(tmp_path / "train.tar", {"0001.cls": "x" * 1000, "0002.cls": "b" * 1000, "0003.cls": "c"}).read_bytes()
    (tmp_path / "train.tar").write_bytes(whole[:keep])
    with pytest.raises(DataError, match=f"train.tar.*{said}"):
        read(tmp_path, train="train.tar", test="test.tar")


def test_a_damaged_header_does_not_end_a_shard_unseen(tmp_path: Path):
    path = write(tmp_path / "a.tar", {"1.cls": "a", "2.cls": "b", "3.cls": "c"})
    content = bytearray(path.read_bytes())
    content[1024 + 10] ^= 255  # in the second member's name, which its checksum covers
    path.write_bytes(content)
    with pytest.raises(DataError, match="at or behind '1.cls'"):
        read(tmp_path, train="a.tar", test="a.tar")


@pytest.mark.parametrize(
    "files, said",
    [
        ({"1.json": "{"}, r"\(.*a.tar\): '1.json' is not readable"),
        ({"1.json": json.dumps({"x": 1}), "2.json": json.dumps({"x": "a"})}, "'json.x' cannot be read as one column"),
        ({"1.json": json.dumps({"x": 1}), "1.JSON": "{}"}, "'1.JSON' is there twice"),
    ],
)
def test_broken_samples_are_one_line_with_shard_and_key(files: dict, said: str, tmp_path: Path):
    write(tmp_path / "a.tar", files)
    with pytest.raises(DataError, match=said) as error:
        read(tmp_path, train="a.tar", test="a.tar", columns={"label": "json.x"})
    assert "\n" not in str(error.value)


def test_names_that_lead_elsewhere_are_keys_and_links_are_passed_over(tmp_path: Path):
    link = tarfile.TarInfo("0002.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
    write(
        tmp_path / "a.tar",
        {"../../0001.cls": "x", "/etc/0003.cls": "y", "0002.cls": "z", "0002.png": link, ".hidden.cls": "q", "__m__/1.cls": "q"},
    )
    before = sorted(path for path in tmp_path.rglob("*"))
    table = read(tmp_path, train="a.tar", test="a.tar")["train"]
    assert table.column("label").to_pylist() == ["x", "y", "z"]
    assert table.column("id").to_pylist()[0] == "a.tar/../../0001"
    assert "image" not in table.column_names
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_files_that_are_not_plain_tar_are_refused(tmp_path: Path):
    whole = write(tmp_path / "a.tar", {"1.cls": "x"})
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(whole.read_bytes()))
    (tmp_path / "b.tar").write_bytes(gzip.compress(whole.read_bytes()))
    for name, said in {"a.tar.gz": "unpack .tar.gz with gunzip", "b.tar": "damaged", "pipe:cat a.tar": "is not a file"}.items():
        with pytest.raises(DataError, match=said):
            read(tmp_path, train=name, test="a.tar")


def test_the_identity_changes_with_a_shard(shards: dict, tmp_path: Path):
    before = webdataset(base=tmp_path, **shards).identity
    assert webdataset(base=tmp_path, **shards).identity == before
    write(tmp_path / "test.tar", {"1.cls": "x" * 20000})
    assert webdataset(base=tmp_path, **shards).identity != before


def test_masks_are_files_of_a_sample(tmp_path: Path, config: Callable, make_png: Callable[..., bytes]):
    def mask(number: int) -> bytes:
        content = io.BytesIO()
        Image.fromarray(np.full((16, 16), number, np.uint8)).save(content, "PNG")
        return content.getvalue()

    files = {f"{i}.jpg": make_png((i, 0, 0), (16, 16)) for i in range(6)} | {f"{i}.mask.png": mask(i % 2) for i in range(5)}
    write(tmp_path / "a.tar", files)
    source = webdataset(base=tmp_path, train="a.tar", validation="a.tar", test="a.tar", columns={"mask": "mask.png"})
    asked = {"task": "segmentation", "task_options": {"stride": 4}, "on_bad_row": "skip"}
    report = prepare(source, config(inputs={"image": {"size": 16}}, **asked), tmp_path / "out", say=lambda line: None)
    assert report["splits"]["train"]["rows"] == 5
    assert report["skipped"]["reasons"]["no label"]["examples"][0]["value"] == "a.tar/5: blank cell"


def test_init_reads_shards_and_writes_a_recipe_for_them(shards: dict, tmp_path: Path):
    write(tmp_path / "train-02.tar", {"9.txt": "no picture", "9.cls": "0", "9.json": "{}"})
    shards["train"] = "train-{00..02}.tar"
    seen = survey({split: tmp_path / pattern for split, pattern in shards.items()}, base=tmp_path, label="cls", text="txt")
    assert seen.source == "webdataset" and seen.files == shards
    assert seen.columns == {"image": "png", "text": "txt", "label": "cls"}
    assert (seen.rows["train"], seen.broken) == (7, {"no image": 1})
    (tmp_path / "a.yaml").write_text(recipe_text("a", "a.yaml", seen, choose(seen)))
    data = load_recipe(tmp_path / "a.yaml").recipe.data
    assert (data.source, data.options) == ("webdataset", {**shards, "columns": seen.columns})
    with pytest.raises(DataError, match=r"give shards \(.tar\) for all of them, or for none"):
        survey({"train": tmp_path / "test.tar", "test": tmp_path / "test.csv"}, base=tmp_path)


PROGRAM = """
import resource, sys
from pathlib import Path
from compress.data.rows import distinct
from compress.data.webdataset import webdataset
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
table = webdataset(base=Path(sys.argv[1]), train="{000..099}.tar", test="000.tar").read()["train"]
_, found = distinct(table.column("image"))
assert len(found.value(99)) == 2_000_000
rollup = dict(line.split(":") for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
print(len(found), sys.modules["pyarrow"].total_allocated_bytes(), rollup["Anonymous"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_contents_stay_in_the_shards_and_no_shard_stays_open(tmp_path: Path):
    for i in range(100):  # 200 MB
        write(tmp_path / f"{i:03}.tar", {"a.jpg": bytes([i]) * 2_000_000, "a.cls": "x"})
    run = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert run.returncode == 0, run.stderr
    count, allocated, anonymous, _ = run.stdout.split()
    assert (int(count), int(allocated) < 1_000_000) == (100, True)
    assert int(anonymous) < 150_000  # kB: the interpreter, numpy and pyarrow
