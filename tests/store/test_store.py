"""The store publishes whole artifacts or none, finds damage, keeps processes apart, and says what a bad disk needs."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from compress.errors import DataError, StoreError
from compress.store.artifacts import TorchModel, fingerprint, ingredients
from compress.store.store import RunFolder, Store, hold, storage_errors, translate_os_error


def make_ingredients(seed=0, stage="distill"):
    return ingredients(stage, 1, config={"epochs": 3}, parents={"teacher": "a" * 64}, extras={"seed": seed}, libraries=["filelock"])


def make(store, made_of, content=b"weights"):
    """What the pipeline does for one stage."""
    with store.partial(made_of["stage"], fingerprint(made_of)) as folder:
        (folder / "model.safetensors").write_bytes(content)
        return store.publish(folder, TorchModel(details={"steps": 9}, seconds=2.5), made_of=made_of)


def start(code, *arguments):
    """A child process that has printed a line and now waits on its standard input."""
    command = [
        sys.executable,
        "-c",
        f"import sys\nfrom pathlib import Path\nfrom compress.store.store import *\n{code}",
        *map(str, arguments),
    ]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    return child


@contextmanager
def mounted(folder, *options):
    """A mount at `folder`, undone at the end; skips where the system permits none."""
    folder.mkdir(exist_ok=True)
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command here")
    done = subprocess.run(["mount", *options, str(folder)], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def said():
    return []


@pytest.fixture
def store(tmp_path, said):
    return Store(tmp_path / "runs" / ".store", say=said.append)


def test_look_up_finds_what_was_published(store):
    made_of = make_ingredients()
    key = fingerprint(made_of)
    assert store.look_up("distill", key) is None
    published = make(store, made_of)
    assert published == store.look_up("distill", key)
    assert published.path == store.root / "distill" / key
    assert published.weights.read_bytes() == b"weights"
    assert (published.fingerprint, published.parents, published.seconds, published.details) == (key, ("a" * 64,), 2.5, {"steps": 9})
    assert published.versions == made_of["libraries"] and published.created and published.command
    assert not store.partial_folder("distill", key).exists()


def test_look_up_of_another_fingerprint_finds_nothing(store):
    make(store, make_ingredients())
    assert store.look_up("distill", fingerprint(make_ingredients(seed=1))) is None


@pytest.mark.parametrize("name", ["model.safetensors", "artifact.json"])
def test_look_up_moves_a_corrupted_entry_aside_and_it_can_be_made_again(store, said, name):
    made_of = make_ingredients()
    published = make(store, made_of)
    place = published.path / name
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.write_bytes(content)
    assert store.look_up("distill", published.fingerprint) is None
    assert not published.path.exists()
    (aside,) = (store.root / "corrupt").iterdir()
    assert (aside / name).read_bytes() == content
    assert len(said) == 1 and name in said[0] and str(aside) in said[0] and "will be made again" in said[0]
    assert make(store, made_of).weights.read_bytes() == b"weights"


def test_look_up_notices_a_missing_file_without_hashing(store):
    published = make(store, make_ingredients())
    published.weights.unlink()
    assert store.look_up("distill", published.fingerprint, verify=False) is None


def test_publish_leaves_the_checkpoint_out(store):
    made_of = make_ingredients()
    with store.partial("distill", fingerprint(made_of)) as folder:
        (folder / "checkpoint").mkdir()
        (folder / "checkpoint" / "state.pt").write_bytes(b"state")
        (folder / "model.safetensors").write_bytes(b"weights")
        published = store.publish(folder, TorchModel(seconds=1), made_of=made_of)
    assert sorted(path.name for path in published.path.iterdir()) == ["artifact.json", "ingredients.json", "model.safetensors"]
    assert list(published.files) == ["model.safetensors"]


def test_publish_keeps_what_another_process_published_first(store):
    made_of = make_ingredients()
    with store.partial("distill", fingerprint(made_of)) as folder:
        (folder / "model.safetensors").write_bytes(b"second")
        first = Store(store.root)  # stands for a machine whose file system does not share locks
        other = store.root / "elsewhere"
        other.mkdir()
        (other / "model.safetensors").write_bytes(b"first")
        first.publish(other, TorchModel(seconds=1), made_of=made_of)
        assert store.publish(folder, TorchModel(seconds=1), made_of=made_of).weights.read_bytes() == b"first"
        assert not folder.exists()


def test_publish_replaces_a_damaged_entry_in_its_way(store):
    made_of = make_ingredients()
    make(store, made_of).weights.write_bytes(b"damaged")
    assert make(store, made_of).weights.read_bytes() == b"weights"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_partial_keeps_its_checkpoint_when_the_body_raises(store, error):
    with pytest.raises(error), store.partial("distill", "a" * 64) as folder:
        (folder / "checkpoint").mkdir()
        (folder / "checkpoint" / "state.pt").write_bytes(b"state")
        raise error
    with store.partial("distill", "a" * 64) as again:
        assert (again / "checkpoint" / "state.pt").read_bytes() == b"state"


def test_partial_without_a_checkpoint_starts_empty(store):
    with pytest.raises(RuntimeError), store.partial("export", "a" * 64) as folder:
        (folder / "half.onnx").write_bytes(b"half")
        raise RuntimeError
    with store.partial("export", "a" * 64) as again:
        assert list(again.iterdir()) == []


MAKE_FOREVER = """
with Store(Path(sys.argv[1])).partial("distill", "a" * 64) as folder:
    (folder / "checkpoint").mkdir(exist_ok=True)
    (folder / "checkpoint" / "step").write_text("7")
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_partial_refuses_a_second_process_at_once_and_names_the_first(store):
    child = start(MAKE_FOREVER, store.root)
    with pytest.raises(StoreError, match=rf"{'a' * 64} \(being made\) is in use by process {child.pid} on .*Wait until it ends"):
        store.partial("distill", "a" * 64).__enter__()
    child.communicate("")
    with store.partial("distill", "a" * 64):
        pass


def test_partial_of_a_killed_process_is_free_and_found_again(store):
    child = start(MAKE_FOREVER, store.root)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    child.stdin.close()
    child.stdout.close()
    with store.partial("distill", "a" * 64) as folder:
        assert (folder / "checkpoint" / "step").read_text() == "7"


def test_run_folder_refuses_a_second_run_and_names_the_first(tmp_path):
    run = RunFolder(tmp_path / "runs" / "vqa")
    child = start("with RunFolder(Path(sys.argv[1])).hold():\n    print('ready', flush=True)\n    sys.stdin.read()", run.path)
    with pytest.raises(StoreError, match=f"run folder {run.path} is in use by process {child.pid} on "):
        run.hold().__enter__()
    child.communicate("")
    with run.hold() as folder:
        assert folder.is_dir()


def test_hold_is_free_again_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), hold(tmp_path / "a.lock", "a"):
        raise RuntimeError
    with hold(tmp_path / "a.lock", "a"), pytest.raises(StoreError, match=f"a is in use by process {os.getpid()} on "):
        hold(tmp_path / "a.lock", "a").__enter__()


def test_link_is_relative_and_survives_a_move(store, tmp_path):
    published = make(store, make_ingredients())
    run = RunFolder(tmp_path / "runs" / "vqa")
    with run.hold():
        link = run.link(3, "distill", published.path)
    assert link.name == "3-distill" and not os.path.isabs(os.readlink(link))
    moved = (tmp_path / "runs").rename(tmp_path / "moved")
    assert RunFolder(moved / "vqa").links()["distill"] == moved / ".store" / "distill" / published.fingerprint


def test_link_replaces_links_of_the_same_stage_or_number(store, tmp_path):
    run = RunFolder(tmp_path / "runs" / "vqa")
    old, new = make(store, make_ingredients()), make(store, make_ingredients(seed=1))
    with run.hold():
        run.link(2, "teacher", old.path)
        run.link(3, "quantize", old.path)
        run.link(4, "distill", old.path)
    run = RunFolder(run.path)
    with run.hold():
        run.link(2, "teacher", old.path)
        run.link(3, "distill", old.path)
        run.link(3, "distill", new.path)
    assert sorted(path.name for path in run.path.iterdir() if path.is_symlink()) == ["2-teacher", "3-distill"]
    assert run.links() == {"teacher": old.path, "distill": new.path}


def test_links_of_several_teachers_share_a_number_until_a_run_has_one(store, tmp_path):
    published = make(store, make_ingredients())
    for names in (["teacher_1", "teacher_2"], ["teacher"]):
        run = RunFolder(tmp_path / "runs" / "vqa")
        with run.hold():
            for name in names:
                run.link(2, name, published.path)
        assert list(run.links()) == names


def test_previous_gives_the_ingredients_that_a_run_used(store, tmp_path):
    made_of = make_ingredients()
    published = make(store, made_of)
    run = RunFolder(tmp_path / "runs" / "vqa")
    assert store.previous("distill", run.path) is None
    with run.hold():
        run.link(3, "distill", published.path)
    assert store.previous("distill", run.path) == made_of
    assert store.previous("teacher", run.path) is None
    (published.path / "ingredients.json").write_text("{}")
    assert store.previous("distill", run.path) is None


@pytest.fixture
def used_store(store, tmp_path):
    """A store with a linked and an unlinked entry, a fresh and an old partial, a damaged entry, and a folder that is no entry."""
    linked, damaged = make(store, make_ingredients()), make(store, make_ingredients(seed=2))
    make(store, make_ingredients(seed=1))
    damaged.weights.unlink()
    assert store.look_up("distill", damaged.fingerprint) is None
    run = RunFolder(tmp_path / "runs" / "vqa")
    with run.hold():
        run.link(3, "distill", linked.path)
    for digit, age_s in (("1", 0), ("2", 90_000)):
        with store.partial("distill", digit * 64) as folder:
            moment = folder.stat().st_mtime - age_s
            os.utime(folder, (moment, moment))
    (store.root / "distill" / "notes").mkdir()
    return store


def test_ls_lists_state_size_and_users(used_store):
    entries = {(entry.state, entry.fingerprint): entry for entry in used_store.ls()}
    keys = [fingerprint(make_ingredients(seed=seed)) for seed in range(3)]
    expected = {("published", keys[0]), ("published", keys[1]), ("corrupt", keys[2]), ("partial", "1" * 64), ("partial", "2" * 64)}
    assert set(entries) == expected
    linked = entries["published", keys[0]]
    assert (linked.stage, linked.used_by, linked.seconds) == ("distill", ("vqa",), 2.5)
    assert linked.size_bytes == sum(path.stat().st_size for path in linked.path.iterdir())
    assert entries["published", keys[1]].used_by == ()


def test_gc_keeps_linked_entries_and_fresh_partials(used_store):
    keys = [fingerprint(make_ingredients(seed=seed)) for seed in range(3)]
    stale = [keys[1], "2" * 64, keys[2]]
    assert [entry.fingerprint for entry in used_store.gc(dry_run=True)] == stale
    assert len(used_store.ls()) == 5
    assert [entry.fingerprint for entry in used_store.gc()] == stale
    assert [entry.fingerprint for entry in used_store.ls()] == [keys[0], "1" * 64]
    assert used_store.look_up("distill", keys[0]) is not None
    assert (used_store.root / "distill" / "notes").is_dir()


def test_gc_keeps_what_it_is_told_to(used_store):
    key = fingerprint(make_ingredients(seed=1))
    assert key not in [entry.fingerprint for entry in used_store.gc({key})]
    assert used_store.look_up("distill", key) is not None


def test_gc_leaves_a_partial_that_is_being_made(store):
    with store.partial("distill", "a" * 64) as folder:
        assert store.gc(partial_age_s=0) == []
        assert folder.exists()
    assert [entry.path for entry in store.gc(partial_age_s=0)] == [folder]


def test_gc_waits_for_no_run(used_store, tmp_path):
    run = RunFolder(tmp_path / "runs" / "vqa")
    with run.hold(), pytest.raises(StoreError, match=f"run folder {run.path} is in use"):
        used_store.gc()
    assert len(used_store.ls()) == 5


def test_gc_and_ls_of_no_store_are_empty(store):
    assert store.ls() == store.gc() == []


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission denied"),
        (errno.EIO, "read or write error"),
    ],
)
def test_translate_names_place_and_way_out(tmp_path, code, words):
    message = str(translate_os_error(OSError(code, os.strerror(code), str(tmp_path / "a.onnx")), tmp_path))
    assert message.startswith(f"{tmp_path}/a.onnx: ") and words in message
    assert "choose another" in message or "run again" in message


def test_translate_reads_the_text_of_foreign_types(tmp_path):
    class SafetensorError(Exception):
        pass

    error = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert "the disk is full" in str(translate_os_error(error, tmp_path))


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, "no such file"), RuntimeError("shapes differ"), ValueError("bad"), DataError("d")]
)
def test_storage_errors_lets_others_through(tmp_path, error):
    with pytest.raises(type(error)) as caught, storage_errors(tmp_path):
        raise error
    assert caught.value is error


def test_full_disk_is_a_store_error_and_the_work_goes_on_when_there_is_room(tmp_path):
    made_of = make_ingredients()
    with mounted(tmp_path / "full", "-t", "tmpfs", "-o", "size=128k", "none") as folder:
        store = Store(folder / ".store")
        with (
            pytest.raises(StoreError) as caught,
            store.partial("distill", fingerprint(made_of)) as partial,
            storage_errors(partial),
        ):
            (partial / "checkpoint").mkdir()
            (partial / "checkpoint" / "step").write_text("7")
            (partial / "model.safetensors").write_bytes(bytes(1 << 18))
        assert "the disk is full (0.0 MB free" in str(caught.value) and "compress store gc" in str(caught.value)
        assert store.look_up("distill", fingerprint(made_of)) is None
        with store.partial("distill", fingerprint(made_of)) as partial:
            assert (partial / "checkpoint" / "step").read_text() == "7"
            (partial / "model.safetensors").write_bytes(b"small")
            assert store.publish(partial, TorchModel(seconds=1), made_of=made_of).weights.read_bytes() == b"small"


def test_full_disk_is_recognised_when_the_library_hides_the_reason(tmp_path):
    with (
        mounted(tmp_path / "full", "-t", "tmpfs", "-o", "size=64k", "none") as folder,
        pytest.raises(StoreError, match="the disk is full .*written"),
        storage_errors(folder),
    ):
        np.zeros(1 << 16, np.float32).tofile(folder / "rows.bin")


def test_full_disk_while_publishing_keeps_the_checkpoint(tmp_path):
    made_of = make_ingredients()
    with mounted(tmp_path / "full", "-t", "tmpfs", "-o", "size=64k", "none") as folder:
        store = Store(folder / ".store")
        with pytest.raises(StoreError, match="the disk is full"), store.partial("distill", fingerprint(made_of)) as partial:
            (partial / "checkpoint").mkdir()
            (partial / "checkpoint" / "step").write_text("7")
            with (partial / "model.safetensors").open("wb", buffering=0) as stream, pytest.raises(OSError, match="No space left"):
                while True:
                    stream.write(bytes(4096))
            store.publish(partial, TorchModel(seconds=1), made_of=made_of)
        assert (partial / "checkpoint" / "step").read_text() == "7"


def test_read_only_store_can_be_read_and_says_so_when_written(store, tmp_path):
    made_of = make_ingredients()
    make(store, made_of)
    with mounted(tmp_path / "view", "-o", "bind,ro", str(tmp_path / "runs")) as runs:
        view = Store(runs / ".store")
        assert view.look_up("distill", fingerprint(made_of)).weights.read_bytes() == b"weights"
        with pytest.raises(StoreError, match=f"{runs}.*: the file system is read-only .* choose another output folder"):
            view.partial("distill", "b" * 64).__enter__()
        with pytest.raises(StoreError, match=f"{runs}/vqa.*: the file system is read-only"):
            RunFolder(runs / "vqa").hold().__enter__()
