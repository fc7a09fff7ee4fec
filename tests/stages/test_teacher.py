"""The teacher stage: every source ends as a model folder of ours that loads, answers as the original does, and exports."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from ports import io_spec
from safetensors.torch import save_file
from sections import RECIPE
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, ViltConfig, ViltForQuestionAnswering

from compress.context import Context
from compress.data.manifest import manifest
from compress.data.prepare import prepare
from compress.data.prepared import PreparedData, open_data
from compress.errors import DataError, DependencyError, RecipeError
from compress.modalities.tokens import tokenize
from compress.models.cifar_resnet import cifar_resnet
from compress.models.saved import load_model, tokenizer_of
from compress.recipe.recipe import Recipe
from compress.stages.export import export_teacher
from compress.stages.teacher import load_teacher, read_weights
from compress.store.artifacts import TorchModel
from compress.training.rows import sample_feeds

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
NAMES = ["blue", "maybe", "yes", "green", "no", "red"]  # of the model: more than the data has, and in another order
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "colour", "is", "it", "red", "?"]
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": len(WORDS),
    "max_position_embeddings": 10,
    "initializer_range": 0.3,
    "id2label": dict(enumerate(NAMES)),
    "label2id": {name: i for i, name in enumerate(NAMES)},
}
SPLITS = {"train": 12, "validation": 3, "test": 6}  # images of each; two texts are too few to cut a validation from
STUDENTS = {"image": {"options": {"stem_stride": 1, "width": 0.25}}, "text": {"options": {"layers": 1, "width": 16, "feedforward": 16}}}


def write_rows(folder: Path) -> None:
    """Images of three colours, each with two questions, as CSV files."""
    for split, count in SPLITS.items():
        with (folder / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["image", "text", "label"])
            for index in range(count):
                colour = list(COLOURS)[index % 3]
                Image.new("RGB", (32, 32), tuple(c // (1 + index) for c in COLOURS[colour])).save(folder / f"{split}{index}.png")
                writer.writerow([f"{split}{index}.png", "what colour is it?", colour])
                writer.writerow([f"{split}{index}.png", "is it red?", "yes" if colour == "red" else "no"])


def write_tokenizer(path: Path) -> None:
    """A small WordPiece tokenizer in BERT's manner."""
    numbers = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.save(str(path))


def write_model(folder: Path, name: str) -> nn.Module:
    """A tiny ViLT or BERT as save_pretrained writes it, with its tokenizer.json beside."""
    torch.manual_seed(0)
    if name == "vilt":
        body: nn.Module = ViltForQuestionAnswering(ViltConfig(**SIZES, image_size=32, patch_size=16)).eval()
        nn.init.normal_(body.vilt.embeddings.position_embeddings)
    else:
        body = BertForSequenceClassification(BertConfig(**SIZES)).eval()
    body.save_pretrained(folder)
    write_tokenizer(folder / "tokenizer.json")
    return body


def recipe_of(modalities: tuple[str, ...], **teacher: Any) -> Recipe:
    given = {
        "name": "tiny",
        "data": {
            "source": "manifest",
            "options": {split: f"{split}.csv" for split in SPLITS},
            "inputs": {m: {"image": {"size": 32}, "text": {"length": 8}}[m] for m in modalities},
        },
        "teacher": teacher,
        "student": {"encoders": {m: STUDENTS[m] for m in modalities}},
    }
    return RECIPE.model_validate(given)


def data_of(recipe: Recipe, base: Path) -> PreparedData:
    """The recipe's rows, prepared once for all tests of a folder."""
    out = base / f"data-{'-'.join(recipe.modalities)}"
    if not out.is_dir():
        source = manifest(base=base, **recipe.data.options)
        prepare(source, recipe.data, out, seed=0, say=lambda line: None)
    return open_data(out)


def context(base: Path, out: Path) -> Context:
    out.mkdir(parents=True, exist_ok=True)
    return Context(out, base=base, say=lambda line: None)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe's folder: rows, and the saved models vilt and bert."""
    folder = tmp_path_factory.mktemp("base")
    write_rows(folder)
    for name in ("vilt", "bert"):
        write_model(folder / name, name)
    return folder


def stage(base: Path, recipe: Recipe, out: Path) -> TorchModel:
    """What the stage leaves in `out`, as the next stage gets it."""
    made = load_teacher(recipe, None, data_of(recipe, base), ctx=context(base, out))
    return TorchModel(path=out, io_spec=made.io_spec, metrics=made.metrics, details=made.details)


MODALITIES = {"vilt": ("image", "text"), "bert": ("text",)}


@pytest.fixture(scope="module", params=["vilt", "bert"])
def folder_teacher(request: pytest.FixtureRequest, base: Path) -> tuple[Recipe, TorchModel]:
    """A teacher of source `folder` and its recipe."""
    recipe = recipe_of(MODALITIES[request.param], source="folder", path=request.param)
    return recipe, stage(base, recipe, base / f"teacher-{request.param}")


def test_folder_teacher_can_be_trained_on(base: Path) -> None:
    training = {"epochs": 20, "batch_size": 8, "learning_rate": 0.003, "trackers": [], "patience": None}
    recipe = recipe_of(("text",), source="folder", path="bert", fine_tune=training)
    teacher = stage(base, recipe, base / "teacher-bert-tuned")
    plain = stage(base, recipe_of(("text",), source="folder", path="bert"), base / "teacher-bert-plain")
    before, after = (made.metrics["validation_accuracy"]["value"] for made in (plain, teacher))
    assert teacher.details["fine_tune"]["before"] == pytest.approx(before / 100) and after > before


@torch.no_grad()
def original_logits(body: Any, data: PreparedData) -> np.ndarray:
    """transformers' own logits of the test rows, for the data's labels in its order."""
    split = data.split("test")
    text = tokenize(data.path.parent / "vilt" / "tokenizer.json", split.inputs["text"].take(split.rows["text"]).to_pylist(), 8)
    given: dict[str, Any] = {"input_ids": torch.from_numpy(text), "attention_mask": torch.from_numpy(text != 0).long()}
    if "image" in split.inputs:
        pixels = torch.from_numpy(np.asarray(split.inputs["image"])[split.rows["image"]]).float() / 255
        given |= {"pixel_values": ((pixels - 0.5) / 0.5).permute(0, 3, 1, 2), "pixel_mask": torch.ones(len(split), 32, 32).long()}
    return body(**given).logits[:, [NAMES.index(label) for label in data.labels]].numpy()


@torch.no_grad()
def test_folder_teacher_answers_as_the_saved_model(folder_teacher: tuple[Recipe, TorchModel], base: Path, tmp_path: Path) -> None:
    recipe, teacher = folder_teacher
    assert teacher.path and teacher.io_spec
    data = data_of(recipe, base)
    name = str(recipe.teacher.path)
    feeds, index = sample_feeds(data.split("test"), teacher.io_spec, teacher.path, 100, teacher=True)
    ours = load_model(teacher.path)({m: torch.from_numpy(x) for m, x in feeds.items()}).logits.numpy()
    np.testing.assert_allclose(ours, original_logits(write_model(tmp_path, name), data)[index], atol=1e-4)


def test_folder_teacher_says_what_it_is(folder_teacher: tuple[Recipe, TorchModel]) -> None:
    recipe, teacher = folder_teacher
    assert teacher.path and teacher.io_spec
    assert teacher.io_spec.modalities == recipe.modalities and teacher.io_spec.outputs[0].shape == (5,)
    assert teacher.io_spec.input("text").high == len(WORDS) - 1
    assert teacher.details["source"] == "folder" and teacher.details["architecture"].startswith(("Vilt", "Bert"))
    assert 0 <= teacher.metrics["validation_accuracy"]["value"] <= 100 and teacher.metrics["validation_accuracy"]["samples"] > 0
    assert tokenizer_of(teacher.path) is not None and (teacher.path / "config" / "config.json").is_file()


def test_folder_teacher_exports_with_parity(folder_teacher: tuple[Recipe, TorchModel], base: Path, tmp_path: Path) -> None:
    recipe, teacher = folder_teacher
    made = export_teacher(recipe, teacher, data_of(recipe, base), ctx=context(base, tmp_path))
    assert (tmp_path / "teacher.onnx").is_file()
    (hop,) = made.details["parity"]
    assert hop["passed"] and hop["samples"] == 2 * (6 + 3 + 12) and hop["distance"] < 1e-4  # every row, for 256 are asked


def test_label_that_the_model_does_not_have_stops_the_stage(base: Path, tmp_path: Path) -> None:
    body = BertForSequenceClassification(BertConfig(**{**SIZES, "id2label": {0: "yes", 1: "no"}, "label2id": {"yes": 0, "no": 1}}))
    body.save_pretrained(tmp_path / "model")
    write_tokenizer(tmp_path / "model" / "tokenizer.json")
    recipe = recipe_of(("text",), source="folder", path=str(tmp_path / "model"))
    with pytest.raises(DataError, match="3 of the data's 5 labels are not the model's, such as"):
        stage(base, recipe, tmp_path / "out")


@pytest.mark.parametrize(("missing", "message"), [("config.json", "has no config.json"), ("tokenizer.json", "has no tokenizer.json")])
def test_folder_without_a_file_is_named(base: Path, tmp_path: Path, missing: str, message: str) -> None:
    shutil.copytree(base / "bert", tmp_path / "model", ignore=shutil.ignore_patterns(missing))
    with pytest.raises(DependencyError, match=message):
        stage(base, recipe_of(("text",), source="folder", path=str(tmp_path / "model")), tmp_path / "out")


def test_text_longer_than_the_model_reads_is_refused(base: Path, tmp_path: Path) -> None:
    given = recipe_of(("text",), source="folder", path="bert").model_dump()
    recipe = RECIPE.model_validate({**given, "data": {**given["data"], "inputs": {"text": {"length": 11}}}})
    with pytest.raises(RecipeError, match=r"cannot read text \[11\]: .*; set teacher.inputs to what it was trained with"):
        stage(base, recipe, tmp_path / "out")


CODE = """
from transformers import BertConfig, BertForSequenceClassification

class OwnConfig(BertConfig):
    model_type = "own"

class OwnModel(BertForSequenceClassification):
    config_class = OwnConfig

    def forward(self, **given):
        found = super().forward(**given)
        found.logits = found.logits * 2
        return found
"""


def write_own_code(folder: Path) -> None:
    """The saved BERT with code of its own, which doubles the logits."""
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "architectures": ["OwnModel"]}
    config["auto_map"] = {"AutoConfig": "own_code.OwnConfig", "AutoModelForSequenceClassification": "own_code.OwnModel"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own_code.py").write_text(CODE)


@pytest.fixture
def own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that transformers copies before it runs goes to the test's own folder."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))


@pytest.mark.usefixtures("own_modules")
def test_models_own_code_does_not_run_unless_it_is_trusted(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base / "bert", tmp_path / "model")
    write_own_code(tmp_path / "model")
    (tmp_path / "model" / "own_code.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(RecipeError, match="contains custom code"):
        stage(base, recipe_of(("text",), source="folder", path=str(tmp_path / "model")), tmp_path / "out")


@pytest.mark.usefixtures("own_modules")
@torch.no_grad()
def test_trusted_code_of_a_model_goes_with_it(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base / "bert", tmp_path / "model")
    write_own_code(tmp_path / "model")
    recipe = recipe_of(("text",), source="folder", path=str(tmp_path / "model"), trust_remote_code=True)
    teacher = stage(base, recipe, tmp_path / "out")
    assert teacher.path
    shutil.rmtree(tmp_path / "model")  # the artifact stands alone
    data = data_of(recipe, base)
    text = tokenize(tmp_path / "out" / "tokenizer.json", data.split("test").inputs["text"].to_pylist(), 8)
    stage(base, recipe_of(("text",), source="folder", path="bert"), tmp_path / "plain")
    given = {"text": torch.from_numpy(text)}
    torch.testing.assert_close(load_model(teacher.path)(given).logits, 2 * load_model(tmp_path / "plain")(given).logits)


def test_hub_model_without_a_network_fails_at_once(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    recipe = recipe_of(("text",), source="hub", id="nobody/nothing", revision="0" * 40)
    started = time.monotonic()
    with pytest.raises(DependencyError, match="cannot fetch 'nobody/nothing' at 0000.*check the network and the id, or fetch it elsewhere"):
        stage(base, recipe, tmp_path / "out")
    assert time.monotonic() - started < 15


@pytest.fixture
def weights(tmp_path: Path) -> Callable[..., Recipe]:
    """A recipe over a ResNet's weights, written as they are published: `module.` before every name, `linear` for the head."""

    def write(suffix: str = ".th", depth: int = 8, classes: int = 3) -> Recipe:
        torch.manual_seed(3)
        model = cifar_resnet(io_spec(image_size=32, text_length=None, vocabulary=None, classes=classes), depth=depth)
        names = {k: k.removeprefix("encoders.image.").replace("head.output.", "linear.") for k in model.state_dict()}
        state = {f"module.{names[k]}": v for k, v in model.state_dict().items()}
        path = tmp_path / f"resnet{suffix}"
        if suffix == ".safetensors":
            save_file(state, path)
        else:
            torch.save({"state_dict": state, "best_prec1": 91.7}, path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        return recipe_of(("image",), source="weights", path=str(path), sha256=sha256, model="cifar_resnet", options={"depth": 8})

    return write


def images_only(folder: Path) -> None:
    """Rows of images alone, each labelled with its colour."""
    for split, count in SPLITS.items():
        lines = [f"{split}{i}.png,{list(COLOURS)[i % 3]}" for i in range(count)]
        (folder / f"{split}.csv").write_text("\n".join(["image,label", *lines]) + "\n")


@pytest.fixture(scope="module")
def image_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    write_rows(folder)
    images_only(folder)
    return folder


@pytest.mark.parametrize("suffix", [".th", ".safetensors"])
@torch.no_grad()
def test_weights_file_with_published_names_becomes_the_teacher(image_base: Path, tmp_path: Path, weights: Callable, suffix: str) -> None:
    recipe = weights(suffix)
    teacher = stage(image_base, recipe, tmp_path / "out")
    assert teacher.path and teacher.details["weights_sha256"] == recipe.teacher.sha256
    loaded = load_model(teacher.path).state_dict()
    given = read_weights(Path(str(recipe.teacher.path)))
    assert torch.equal(loaded["encoders.image.layer2.0.conv1.weight"], given["module.layer2.0.conv1.weight"])
    assert torch.equal(loaded["head.output.weight"], given["module.linear.weight"])
    assert len(loaded) == len(given)


def test_fine_tuned_weights_know_the_data_better(image_base: Path, tmp_path: Path, weights: Callable) -> None:
    given = weights().model_dump()
    train = {"epochs": 20, "batch_size": 8, "learning_rate": 0.01, "trackers": [], "patience": None}
    recipe = RECIPE.model_validate({**given, "teacher": {**given["teacher"], "fine_tune": train}})
    data = data_of(recipe, image_base)
    feeds = {"image": torch.from_numpy(np.array(data.split("train").inputs["image"]))}
    right = []
    for name, one in (("plain", weights()), ("tuned", recipe)):
        stage(image_base, one, tmp_path / name)
        right.append((load_model(tmp_path / name)(feeds).logits.argmax(1).numpy() == data.split("train").labels).mean())
    assert right[1] > 0.8 > 0.5 > right[0]


def test_weights_file_with_another_hash_is_refused(image_base: Path, tmp_path: Path, weights: Callable) -> None:
    recipe = weights()
    with Path(str(recipe.teacher.path)).open("ab") as file:
        file.write(b"x")
    with pytest.raises(DependencyError, match=r"sha256 is .*, expected .*teacher\.sha256"):
        stage(image_base, recipe, tmp_path / "out")


@pytest.mark.parametrize("wrong", [{"depth": 14}, {"classes": 10}])
def test_weights_of_another_model_are_refused(image_base: Path, tmp_path: Path, weights: Callable, wrong: dict) -> None:
    with pytest.raises(DataError, match="does not fit model 'cifar_resnet' with {'depth': 8}"):
        stage(image_base, weights(**wrong), tmp_path / "out")


def test_weights_for_data_with_texts_are_refused(base: Path, tmp_path: Path) -> None:
    recipe = recipe_of(("image", "text"), source="weights", path="x.th", sha256="0" * 64, model="cifar_resnet")
    with pytest.raises(RecipeError, match="source weights brings no tokenizer.json, so it cannot read text"):
        stage(base, recipe, tmp_path / "out")


class Evil:
    """What runs code when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple:
        return Path.touch, (self.place,)


def test_weights_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": Evil(tmp_path / "ran")}, tmp_path / "evil.th")
    with pytest.raises(DataError, match=r"evil.th holds no weights that can be read without running code"):
        read_weights(tmp_path / "evil.th")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["a.th", "a.safetensors"])
def test_file_that_holds_no_weights_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=f"{name} holds no weights"):
        read_weights(tmp_path / name)
