"""A bundle of tiny models, for the tests of what is written into a bundle and of what runs inside one; and one run of the whole chain."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

if TYPE_CHECKING:
    from compress.pipeline import RunResult

WORDS = ["[PAD]", "[UNK]", "what", "colour", "is", "the", "square", "red", "a", "?"]
SIZE, TOKENS, LABELS = 8, 6, ["no", "yes", "red", "blue"]


def write_onnx(path: Path, *, modalities: tuple[str, ...], step: float = 0.0) -> None:
    """image (B, 8, 8, 3) uint8 and text (B, 6) int64 to logits (B, 4); `step` > 0 rounds the weights to its multiples."""
    rng = np.random.default_rng(0)
    table, weight = rng.normal(size=(len(WORDS), 4)).astype(np.float32), rng.normal(size=(7, 4)).astype(np.float32)
    if step:
        weight = (weight / step).round() * np.float32(step)
    weight = np.concatenate([weight, np.eye(2, 4, dtype=np.float32)])
    rows = {"image": slice(0, 3), "text": slice(3, 7), "present": slice(7, 9)}
    inputs = {"image": (TensorProto.UINT8, ["batch", SIZE, SIZE, 3]), "text": (TensorProto.INT64, ["batch", TOKENS])}
    inputs["present"] = (TensorProto.FLOAT, ["batch", 2])
    nodes = {
        "image": [helper.make_node("Cast", ["image"], ["pixels"], to=1), helper.make_node("Mul", ["pixels", "scale"], ["scaled"])]
        + [helper.make_node("ReduceMean", ["scaled", "plane"], ["image_mean"], keepdims=0)],
        "text": [helper.make_node("Gather", ["table", "text"], ["vectors"])]
        + [helper.make_node("ReduceMean", ["vectors", "time"], ["text_mean"], keepdims=0)],
        "present": [helper.make_node("Identity", ["present"], ["present_mean"])],
    }
    arrays = {"weight": np.concatenate([weight[rows[m]] for m in modalities]), "table": table, "scale": np.float32(1 / 64)}
    arrays |= {"plane": np.array([1, 2]), "time": np.array([1])}
    body = [node for m in modalities for node in nodes[m]]
    body.append(helper.make_node("Concat", [f"{m}_mean" for m in modalities], ["joined"], axis=1))
    body.append(helper.make_node("MatMul", ["joined", "weight"], ["logits"]))
    used = {name for node in body for name in node.input}
    graph = helper.make_graph(
        body,
        "tiny",
        [helper.make_tensor_value_info(m, *inputs[m]) for m in modalities],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items() if name in used],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


def write_tokenizer(path: Path) -> None:
    """Whole words of WORDS, [UNK] for others; no padding of its own."""
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(path))


@pytest.fixture
def bundle_arguments(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The arguments of `write_bundle` after `out`, for a tiny model of the given modalities."""
    from ports import io_spec

    from compress.device.sessions import open_session
    from compress.tasks.task import task

    def make(modalities: tuple[str, ...] = ("image", "text")) -> dict[str, Any]:
        source = tmp_path / "source"
        source.mkdir(exist_ok=True)
        write_onnx(source / "fp32.onnx", modalities=modalities)
        write_onnx(source / "int8.onnx", modalities=modalities, step=1 / 32)
        write_tokenizer(source / "tokenizer.json")
        rng = np.random.default_rng(1)
        feeds = {"image": rng.integers(0, 256, (20, SIZE, SIZE, 3), np.uint8), "text": rng.integers(0, len(WORDS), (20, TOKENS))}
        feeds["present"] = np.ones((20, 2), np.float32)
        golden = {m: feeds[m] for m in modalities}
        golden["logits"] = open_session(source / "fp32.onnx").run(golden)["logits"]
        golden["labels"] = golden["logits"].argmax(-1)
        reads_text = "text" in modalities
        return {
            "models": {"fp32": source / "fp32.onnx", "int8_qat": source / "int8.onnx"},
            "chosen": "fp32",
            "io_spec": io_spec(
                gaps="present" in modalities,
                image_size=SIZE if "image" in modalities else None,
                text_length=TOKENS if reads_text else None,
                vocabulary=len(WORDS),
                classes=len(LABELS),
            ),
            "labels": LABELS,
            "task": task("single_label"),
            "assets": [source / "tokenizer.json"] if reads_text else [],
            "recipe_yaml": "name: tiny\n",
            "summary": {"name": "tiny", "data": "20 random rows", "teacher": "none", "samples": 200, "shipped_accuracy": 0.985},
            "licences": [{"name": "easy-vqa", "use": "data", "licence": "MIT", "source": "PyPI"}],
            "golden": golden,
            "engine": {"opt_batch": 4, "workspace_mib": 64},
        }

    return make


@pytest.fixture
def bundle(tmp_path: Path, bundle_arguments: Callable[..., dict[str, Any]]) -> Path:
    """A written bundle of a model that reads an image and a text, in two precisions."""
    from compress.stages.bundle import write_bundle

    write_bundle(tmp_path / "bundle", **bundle_arguments())
    return tmp_path / "bundle"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A PNG of another size than the model reads."""
    path = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    return path


SMALL_RECIPE = """\
name: small
description: Every stage on a handful of images.
data:
  source: easy_vqa
  inputs: {image: {size: 32}, text: {length: 16}}
  train_limit: 100
  test_limit: 40
  labelled_fraction: 0.5
teacher:
  source: fit
  encoders:
    image: {model: efficientnet_lite2, options: {size: 64}}
    text: {model: minilm_l6}
  head_width: 64
  train: {epochs: 4, batch_size: 16, learning_rate: 2.0e-3}
student:
  encoders:
    image: {model: mobilenet_v4, options: {width: 0.5, out: 32}}
    text: {options: {layers: 1, width: 32, heads: 1, feedforward: 64}}
  head_width: 32
  dropout: 0.1
distill:
  augment: {views: 2, image: {flip: true}, text: {wordings: 4, reworded: 0.5}}
  train: {epochs: 3, batch_size: 16}
  compare_alone: true
quantize:
  calibration_batches: 2
  train: {epochs: 1, batch_size: 16, learning_rate: 3.0e-4}
export:
  targets: [onnxruntime_x86, onnxruntime_arm, tensorrt]
  mobile: [MOBILE]
  parity: {samples: 32}
engine: {flavour: tensorrt_rtx}
benchmark: {batches: [1, 2], rounds: 10, warmup: 1, runtimes: [RUNTIMES]}
bundle: {examples: [cpp]}
"""
OPTIONAL = {"openvino": "openvino", "litert": "litert_torch"}  # runtime -> module of its extra
EXTRAS = [name for name, module in OPTIONAL.items() if importlib.util.find_spec(module)]
SMALL_RECIPE = SMALL_RECIPE.replace("RUNTIMES", ", ".join(["ort_format", *EXTRAS])).replace(
    "MOBILE", ", ".join(["ort_format", *(["litert"] if "litert" in EXTRAS else [])])
)


@dataclass(frozen=True)
class WholeRun:
    """A finished run: its recipe, the folder of runs and store, what came back and what was said."""

    recipe: Path
    runs: Path
    result: RunResult
    said: list[str]


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> WholeRun:
    """The chain from data to bundle, run once for all tests that read its result; they must not write to it."""
    from compress.pipeline import run
    from compress.recipe.grammar import load_recipe

    folder = tmp_path_factory.mktemp("whole")
    (folder / "small.yaml").write_text(SMALL_RECIPE)
    said: list[str] = []
    result = run(load_recipe(folder / "small.yaml", []), runs=folder / "runs", threads=1, say=said.append)
    return WholeRun(folder / "small.yaml", folder / "runs", result, said)


@pytest.fixture
def own_run(whole_run: WholeRun, tmp_path: Path) -> WholeRun:
    """The same run in a folder of one's own. Files are hard links: replace them, never write into them."""
    shutil.copytree(whole_run.runs, tmp_path / "runs", symlinks=True, copy_function=os.link)
    return WholeRun(whole_run.recipe, tmp_path / "runs", whole_run.result, whole_run.said)


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a benchmark program by name, as it finds its siblings when it is run."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


CLEAN = ["numpy", "onnxruntime", "tokenizers", "PIL"]  # what a device needs


@pytest.fixture(scope="session")
def clean_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with links to the needed packages and the shared libraries of their wheels, and nothing else."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=False, symlinks=True)
    site = next(folder.glob("lib/python*/site-packages"))
    for name in CLEAN:
        spec = importlib.util.find_spec(name)
        assert spec and spec.origin
        package = Path(spec.origin).parent
        libraries = package.with_name({"PIL": "pillow"}.get(name, name) + ".libs")
        for path in filter(Path.exists, (package, libraries)):
            (site / path.name).symlink_to(path)
    return folder / "bin" / "python"
