"""`Predictor`: the answers of the model to paths, contents and arrays, one at a time, in batches and from many threads."""

from __future__ import annotations

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from compress.device import predictor as predictors
from compress.device.contents import read_bundle
from compress.device.errors import DeviceError, ManifestError
from compress.device.modalities.image import decode
from compress.device.modalities.text import encode_text, open_tokenizer
from compress.device.predictor import Predictor
from compress.device.sessions import open_session
from compress.stages.bundle import write_bundle

QUESTION = "what colour is the square ?"


def test_predict_is_the_softmax_of_the_model(bundle: Path, picture: Path) -> None:
    opened = read_bundle(bundle)
    answer = Predictor(bundle).predict(image=picture, text="what colour is the square ?")
    feeds = {
        "image": decode(picture, height=8, width=8)[None],
        "text": encode_text(open_tokenizer(bundle / "tokenizer.json", length=6), "what colour is the square ?"),
    }
    logits = open_session(bundle / "model.onnx").run(feeds)["logits"][0]
    p = np.exp(logits) / np.exp(logits).sum()
    assert answer["label"] == opened.labels[int(p.argmax())]
    assert answer["probability"] == pytest.approx(p.max(), rel=1e-5)
    assert [entry["probability"] for entry in answer["top"]] == pytest.approx(sorted(p, reverse=True)[:3], rel=1e-5)


@pytest.mark.parametrize(("modality", "given"), [("image", {}), ("text", {"image": None, "text": "what ?"})])
def test_predict_takes_models_of_one_input(tmp_path: Path, bundle_arguments, picture: Path, modality: str, given: dict) -> None:
    write_bundle(tmp_path / "one", **bundle_arguments((modality,)))
    opened = read_bundle(tmp_path / "one")
    assert (tmp_path / "one" / "tokenizer.json").exists() == (modality == "text")
    asked = {name: value for name, value in {"image": picture, **given}.items() if value is not None}
    answer = Predictor(tmp_path / "one").predict(**asked)
    assert answer["label"] in opened.labels
    unused = {"image": {"text": "what ?"}, "text": {"image": picture}}[modality]
    with pytest.raises(DeviceError, match="this model reads no"):
        Predictor(tmp_path / "one").predict(**asked, **unused)


@pytest.mark.parametrize(("missing", "option"), [("image", "--image"), ("text", "--question")])
def test_predict_asks_for_a_missing_input(bundle: Path, picture: Path, missing: str, option: str) -> None:
    given = {"image": picture, "text": "what ?", missing: None}
    with pytest.raises(DeviceError, match=f"reads image and text; give {option}"):
        Predictor(bundle).predict(**given)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "labels.json", "io_spec.json", "models.json"])
def test_predict_refuses_a_changed_file(bundle: Path, picture: Path, name: str) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[-1] ^= 1
    (bundle / name).write_bytes(data)
    with pytest.raises(ManifestError, match=f"{name}: sha256"):
        Predictor(bundle).predict(image=picture, text="what ?")


def sample(predictor: Predictor, number: int) -> dict[str, np.ndarray]:
    return {name: array[number] for name, array in predictor.samples().items()}


def test_path_content_and_pixels_give_the_same_answer(bundle: Path, picture: Path) -> None:
    from PIL import Image

    pixels = np.asarray(Image.open(picture))  # 20 x 30, which the model's 8 x 8 are made of
    with Predictor(bundle) as predictor:
        answers = [predictor.predict(image=value, text=QUESTION) for value in (picture, str(picture), picture.read_bytes(), pixels)]
        assert predictor.predict(image=decode(picture, height=8, width=8), text=QUESTION.encode()) == answers[0]
    assert answers.count(answers[0]) == 4


def test_arrays_of_the_ports_form_give_the_golden_answers(bundle: Path) -> None:
    golden = np.load(bundle / "golden.npz")["logits"]
    with Predictor(bundle) as predictor:
        labels = [predictor.predict(**sample(predictor, i))["label"] for i in range(20)]
        assert labels == [predictor.bundle.labels[k] for k in golden.argmax(-1)]


def test_batch_gives_what_single_calls_give_in_calls_of_at_most_max_batch(bundle: Path) -> None:
    with Predictor(bundle) as predictor:
        rows = [sample(predictor, i % 20) for i in range(75)]  # the model takes 32 at once
        sizes: list[int] = []
        run = predictor._session.run
        predictor._session.run = lambda feeds: (sizes.append(len(feeds["image"])), run(feeds))[1]
        answers = predictor.predict_batch(rows)
        assert sizes == [32, 32, 11]
        for answer, single in zip(answers, (predictor.predict(**row) for row in rows), strict=True):
            assert answer["label"] == single["label"] and answer["probability"] == pytest.approx(single["probability"], abs=1e-6)
        assert predictor.predict_batch([]) == []


def test_batch_names_the_row_that_cannot_be_read(bundle: Path) -> None:
    with Predictor(bundle) as predictor, pytest.raises(DeviceError, match="row 1: none.png: missing file"):
        predictor.predict_batch([sample(predictor, 0), {**sample(predictor, 0), "image": "none.png"}])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"text": np.full(6, 99)}, r"text holds values from 99 to 99; the model takes 0"),
        ({"text": np.full(6, -1)}, "from -1 to -1"),
        ({"text": np.zeros(5, np.int64)}, "a text is a string or token ids of the model's length, found ndarray"),
        ({"text": b"\xff"}, "no UTF-8"),
        ({"image": np.zeros((8, 8, 3), np.float32)}, "float32 of shape .8, 8, 3.; pixels are RGB"),
        ({"image": np.zeros((8, 8), np.uint8)}, "pixels are RGB"),
        ({"sound": b"x"}, "reads no sound"),
    ],
)
def test_values_that_no_port_takes_are_refused(bundle: Path, changed: dict, message: str) -> None:
    with Predictor(bundle) as predictor, pytest.raises(DeviceError, match=message):
        predictor.predict(**{**sample(predictor, 0), **changed})


def test_numbers_that_are_not_finite_are_refused(bundle: Path) -> None:
    with Predictor(bundle) as predictor, pytest.raises(DeviceError, match="not finite"):
        predictor._checked("image", np.array([1.0, np.nan], np.float32))


@pytest.mark.parametrize("runtime_answers_side_by_side", [True, False])
def test_eight_threads_get_the_answers_of_one(bundle: Path, picture: Path, monkeypatch, runtime_answers_side_by_side: bool) -> None:
    monkeypatch.setattr(predictors, "REENTRANT", ("onnxruntime_cpu",) if runtime_answers_side_by_side else ())
    with Predictor(bundle).warm_up() as predictor:
        samples, busy, most, inner = predictor.samples(), [0], [0], predictor._session.run

        def run(feeds):
            busy[0] += 1
            most[0] = max(most[0], busy[0])
            try:
                return inner(feeds)
            finally:
                busy[0] -= 1

        predictor._session.run = run
        rows = [{name: array[i % 20] for name, array in samples.items()} for i in range(3_000)]
        rows[::100] = [{"image": picture, "text": QUESTION}] * 30  # and some that go through the readers
        alone = [predictor.predict(**row) for row in rows[:200]]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda row: predictor.predict(**row), rows))
    assert all(answer == alone[i % 200] for i, answer in enumerate(together))
    assert runtime_answers_side_by_side or most == [1]  # one call at a time where a session is not re-entrant


def test_closed_predictor_says_so(bundle: Path) -> None:
    with Predictor(bundle) as predictor:
        row = sample(predictor, 0)
    with pytest.raises(DeviceError, match="closed"):
        predictor.predict(**row)


def test_predictor_answers_with_the_model_that_was_chosen_here(bundle: Path) -> None:
    from compress.device.choose import choose
    from compress.device.measure import bench

    opened = read_bundle(bundle)
    bench(
        opened,
        [model for model in opened.models if model.name == "int8_qat"],
        batches=[1],
        rounds=2,
        warmup=0,
        threads=1,
        runtime="onnxruntime_cpu",
    )
    assert choose(opened, measurements=bundle / "measurements.json")["model"] == "int8_qat"
    with Predictor(bundle) as chosen, Predictor(bundle, model="fp32") as named:
        assert (chosen.model.name, named.model.name) == ("int8_qat", "fp32")


def test_arrays_need_numpy_and_the_runtime_alone(bundle: Path, clean_python: Path) -> None:
    program = f"""
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, {str(bundle)!r})
from device.predictor import Predictor
with Predictor({str(bundle)!r}) as predictor:
    print(predictor.warm_up().predict(**{{name: array[0] for name, array in predictor.samples().items()}})["label"])
assert not {{"PIL", "tokenizers", "torch"}} & set(sys.modules)
"""
    done = subprocess.run([clean_python, "-I", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("modalities", [("image", "text"), ("text",)])
def test_lines_of_the_readme_run_as_they_stand(
    tmp_path: Path, bundle_arguments, picture: Path, clean_python: Path, modalities: tuple
) -> None:
    write_bundle(tmp_path / "one", **bundle_arguments(modalities))
    found = re.search(r"```python\n(.*?)```", (tmp_path / "one" / "README.md").read_text(), re.DOTALL)
    assert found and len([line for line in found[1].splitlines() if line]) <= 10
    program = found[1].replace('"picture.png"', repr(str(picture)))
    done = subprocess.run([clean_python, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path / "one", env={})
    assert (done.returncode, done.stderr) == (0, "")
    single, batch = done.stdout.splitlines()
    assert "'label'" in single and batch.count("'model'") == 20
    assert subprocess.run([clean_python, "run.py", "verify"], cwd=tmp_path / "one", env={}, check=False).returncode == 0


@pytest.fixture
def gaps(tmp_path: Path, bundle_arguments) -> Path:
    """A bundle whose rows may lack an input; its logits 0 and 1 grow by 1 where image and text are there."""
    write_bundle(tmp_path / "gaps", **bundle_arguments(("image", "text", "present")))
    return tmp_path / "gaps"


def test_predict_answers_with_what_it_is_given_and_says_what_was_missing(gaps: Path, picture: Path) -> None:
    predictor = Predictor(gaps)
    assert predictor.predict(image=picture, text=QUESTION)["missing"] == []
    answer = predictor.predict(image=picture)
    assert answer["missing"] == ["text"]
    feeds = {"image": decode(picture, height=8, width=8)[None], "text": np.zeros((1, 6), np.int64), "present": np.float32([[1, 0]])}
    logits = open_session(gaps / "model.onnx").run(feeds)["logits"][0]
    assert answer["probability"] == pytest.approx((np.exp(logits) / np.exp(logits).sum()).max(), rel=1e-5)


def test_rows_of_a_batch_may_lack_different_inputs(gaps: Path, picture: Path) -> None:
    predictor = Predictor(gaps)
    answers = predictor.predict_batch([{"image": picture}, {"text": QUESTION}, {"image": picture, "text": QUESTION}])
    assert [answer["missing"] for answer in answers] == [["text"], ["image"], []]
    assert answers[1] == predictor.predict(text=QUESTION)


def test_predict_without_any_input_is_refused(gaps: Path) -> None:
    with pytest.raises(DeviceError, match="reads image and text; give --image or --question"):
        Predictor(gaps).predict()


def test_golden_samples_say_which_inputs_they_have(gaps: Path) -> None:
    predictor = Predictor(gaps).warm_up(2)
    assert predictor.predict(**sample(predictor, 0))["missing"] == []
    with pytest.raises(DeviceError, match="3 numbers, but the model reads 2"):
        predictor.predict(text=QUESTION, present=[1, 0, 1])
