"""A store at a URL: what one machine put there another takes, whole and checked; the first of two wins; half-written makings are no entries."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from compress.errors import DependencyError, RecipeError, StoreError
from compress.pipeline import plan, run
from compress.recipe.grammar import load_recipe
from compress.store.artifacts import RECORD, Artifact, TorchModel, fingerprint, ingredients
from compress.store.at_url import SharedStore, open_store
from compress.store.store import Store

Machine = Callable[..., SharedStore]
MADE_OF = ingredients("distill", 1, config={}, parents={}, extras={"seed": 0}, libraries=[])
KEY = fingerprint(MADE_OF)


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    fsspec = pytest.importorskip("fsspec")
    yield f"memory://{tmp_path.name}/store" if request.param == "memory" else f"file://{tmp_path}/shared"
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def machine(url: str, tmp_path: Path) -> Machine:
    """machine(name): the store of a machine of its own, with the URL behind it; what it says is in `said`."""

    def machine(name: str, said: list[str] | None = None) -> SharedStore:
        return SharedStore(url, tmp_path / name / ".store", say=([] if said is None else said).append)

    return machine


def make(store: Store, content: bytes = b"weights") -> Artifact:
    with store.partial("distill", KEY) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "model.safetensors").write_bytes(content)
        return store.publish(folder, TorchModel(details={"steps": 9}), made_of=MADE_OF)


def files_at(store: SharedStore) -> list[str]:
    store.system.invalidate_cache()
    return sorted(path[len(store.place) :].strip("/") for path in store.system.find(store.place))


def weights(artifact: Artifact | None) -> bytes:
    assert artifact
    return artifact.file("deep/model.safetensors").read_bytes()


def test_what_one_machine_made_another_takes(machine: Machine) -> None:
    a, b = machine("a"), machine("b")
    assert a.look_up("distill", KEY) is None
    made = make(a)
    seal = json.loads((a.entry("distill", KEY) / RECORD).read_bytes())["seal"]
    names = ["artifact.json", f"{seal}/deep/model.safetensors", f"{seal}/ingredients.json"]
    assert files_at(a) == sorted(f"distill/{KEY}/{name}" for name in names)
    found = b.look_up("distill", KEY)
    assert found and weights(found) == b"weights" and found.path == b.entry("distill", KEY) and found.created == made.created
    assert not list((b.root / "partial").iterdir())
    b.system.rm(b.place, recursive=True)
    assert weights(b.look_up("distill", KEY)) == b"weights"  # from its own mirror


def test_of_two_makings_the_first_wins(machine: Machine) -> None:
    said: list[str] = []
    a, b = machine("a"), machine("b", said)
    with b.partial("distill", KEY) as folder:  # begun before the other had put its own
        (folder / "deep").mkdir()
        (folder / "deep" / "model.safetensors").write_bytes(b"other weights")
        make(a)
        published = b.publish(folder, TorchModel(), made_of=MADE_OF)
    assert weights(published) == b"weights" == weights(Store(b.root).look_up("distill", KEY)) and "another machine" in said[-1]
    assert len(files_at(a)) == 3


def test_the_first_wins_where_both_write_their_last_file_at_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = machine("a"), machine("b")
    make(a)
    own, looks = b._record, []
    monkeypatch.setattr(b, "_record", lambda *place: own(*place) if looks or looks.append(1) else None)  # it has looked too early
    assert weights(make(b, b"other weights")) == b"weights"
    assert len(files_at(a)) == 3  # what the second had written is gone


def test_a_file_system_that_cannot_refuse_is_told_of(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    store = machine("a", said)
    own = type(store.system).pipe_file

    def pipe_file(path: str, value: bytes, mode: str = "overwrite") -> None:
        if mode == "create":
            raise NotImplementedError("no such header")
        own(store.system, path, value)

    monkeypatch.setattr(store.system, "pipe_file", pipe_file)
    make(store)
    assert weights(machine("b").look_up("distill", KEY)) == b"weights"
    assert len(said) == 1 and "the last one wins there" in said[0]


@pytest.mark.parametrize("torn", ["altered", "missing", "of another key", "half a record"])
def test_what_is_damaged_there_is_not_taken(machine: Machine, torn: str) -> None:
    said: list[str] = []
    a, b = machine("a"), machine("b", said)
    make(a)
    seal, key, entry = json.loads((a.entry("distill", KEY) / RECORD).read_bytes())["seal"], KEY, f"{a.place}/distill/{KEY}"
    if torn == "altered":
        a.system.pipe_file(f"{entry}/{seal}/deep/model.safetensors", b"weighty")
    elif torn == "missing":
        a.system.rm_file(f"{entry}/{seal}/deep/model.safetensors")
    elif torn == "of another key":
        key = "f" * 64
        for path in a.system.find(entry):
            target = path.replace(KEY, key)
            a.system.makedirs(target.rpartition("/")[0], exist_ok=True)
            a.system.pipe_file(target, a.system.cat_file(path))
    else:
        a.system.pipe_file(f"{entry}/{RECORD}", b'{"seal": "')
    assert b.look_up("distill", key) is None and not b.entry("distill", key).exists()
    assert len(said) == (torn != "half a record") and not list(b.root.glob("partial/*"))


def test_a_file_does_not_lead_out_of_its_folder(machine: Machine) -> None:
    a, b = machine("a"), machine("b")
    make(a)
    record = json.loads(a.system.cat_file(f"{a.place}/distill/{KEY}/{RECORD}"))
    record["files"]["../../evil"] = record["files"]["deep/model.safetensors"]
    a.system.pipe_file(f"{a.place}/distill/{KEY}/{RECORD}", json.dumps(record).encode())
    with pytest.raises(StoreError, match="'../../evil', which leads out of its folder"):
        b.look_up("distill", KEY)


def test_gc_alone_removes_what_is_half_written(machine: Machine) -> None:
    store = machine("a")
    make(store)
    half = f"{store.place}/distill/{KEY}/{'e' * 64}"
    store.system.makedirs(half, exist_ok=True)
    store.system.pipe_file(f"{half}/model.safetensors", b"half")
    assert weights(machine("b").look_up("distill", KEY)) == b"weights"  # it is no entry
    assert store.gc(keep=[KEY]) == []  # it may still be written
    assert [entry.path.name for entry in store.gc(keep=[KEY], dry_run=True, partial_age_s=-60)] == ["e" * 64]
    assert len(files_at(store)) == 4
    store.gc(keep=[KEY], partial_age_s=-60)
    assert len(files_at(store)) == 3 and weights(machine("c").look_up("distill", KEY)) == b"weights"


def test_a_run_takes_what_another_machine_made(tmp_path: Path, url: str) -> None:
    from number_rows import write_numbers

    recipe, said = write_numbers(tmp_path), []
    given: dict[str, Any] = {"threads": 1, "store": url, "last": "features"}
    run(load_recipe(recipe), runs=tmp_path / "a", say=lambda line: None, **given)
    run(load_recipe(recipe), runs=tmp_path / "b", say=said.append, **given)
    assert [line.split()[1] for line in said if "-" in line.split()[0]] == ["reused", "reused"]
    assert (tmp_path / "b" / "dealt" / "2-features").resolve().is_relative_to(tmp_path / "b" / ".store")
    actions = {stage.name: stage.action for stage in plan(load_recipe(recipe), runs=tmp_path / "c", threads=1, store=url)}
    assert actions["features"] == "reuse" and actions["teacher"] == "run"
    with pytest.raises(RecipeError, match="--from data: what is at .* is everyone's"):
        run(load_recipe(recipe), runs=tmp_path / "a", threads=1, store=url, first="data")


def test_a_url_that_nothing_reads_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="--store gopher://a"):
        open_store("gopher://a", tmp_path)
    assert type(open_store(None, tmp_path)) is Store
