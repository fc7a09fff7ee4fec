"""The recipes for people with a hub, on small copies of the same architectures: what their first lines fetch is read and scored, and the student can start."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from PIL import Image

from compress.pipeline import run
from compress.recipe.grammar import load_recipe

RECIPES = Path(__file__).parents[1] / "recipes"
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *"what colour is it red blue a good bad film ? .".split(),
    *"abcdefghijklmnopqrstuvwxyz",
]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "initializer_range": 0.3}
TEXT = "student.encoders.text.options={layers: 1, width: 16, heads: 2, feedforward: 32}"


def names(labels: list[str]) -> dict[str, Any]:
    """A model's own, with one more than the data have, and in another order."""
    every = ["another", *reversed(labels)]
    return {"id2label": dict(enumerate(every)), "label2id": {label: i for i, label in enumerate(every)}}


def write_words(folder: Path) -> None:
    """A tokenizer as old models publish it: the words alone."""
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"do_lower_case": True, "model_max_length": 64, "tokenizer_class": "BertTokenizer"})
    )


def colour(i: int) -> tuple[int, int, int]:
    """Red and blue in turns, each a little different."""
    return ((250 - i, i, 9), (9, i, 250 - i))[i % 2]


def write_vilt(published: Path, labels: list[str]) -> None:
    """A small ViLT that knows these answers."""
    from transformers import ViltConfig, ViltForQuestionAnswering, ViltImageProcessor

    config = ViltConfig(**SIZES, **names(labels), vocab_size=len(WORDS), max_position_embeddings=40, image_size=64, patch_size=32)
    ViltForQuestionAnswering(config).save_pretrained(published)
    ViltImageProcessor(size={"shortest_edge": 64}, size_divisor=32).save_pretrained(published)
    write_words(published)


def vilt(published: Path, data: Path) -> list[str]:
    write_vilt(published, ["red", "blue"])
    (data / "model.json").write_text(json.dumps(names(["red", "blue"])))
    for part, count in (("train2014", 24), ("val2014", 8)):
        (data / part).mkdir()
        for i in range(count):
            Image.new("RGB", (40, 30), colour(i)).save(data / part / f"COCO_{part}_{i:012}.jpg")
        asked = [{"question_id": i, "image_id": i, "question": "What colour is it?"} for i in range(count)]
        told = [
            {"question_id": i, "image_id": i, "multiple_choice_answer": ("red", "blue", "teal")[i % 8 and i % 2 or 2 * (i % 8 == 0)]}
            for i in range(count)
        ]
        (data / f"v2_OpenEnded_mscoco_{part}_questions.json").write_text(json.dumps({"questions": asked}))
        (data / f"v2_mscoco_{part}_annotations.json").write_text(
            json.dumps({"annotations": [{**row, "answer_type": "other"} for row in told]})
        )
    own = [f"data.options={{path: '{data}', answers: '{data}/model.json'}}", "data.inputs.image.size=64", "data.validation_fraction=0.25"]
    return [*own, "student.encoders.image={model: mobilenet_v4, options: {width: 0.25, out: 16}}", TEXT]


def vqa_rad(published: Path, data: Path) -> list[str]:
    """A ViLT that is trained on; of the questions about pictures the recipe's own line keeps those whose answer is yes or no."""
    from datasets import Dataset, DatasetDict, Features, Value
    from datasets import Image as Picture

    write_vilt(published, ["yes", "no"])
    features = Features({"image": Picture(), "question": Value("string"), "answer": Value("string")})
    rows = {
        split: [
            {
                "image": Image.new("RGB", (40, 30), colour(i)),
                "question": "is it red?",
                "answer": ("yes", "no", "left")[i % 7 and i % 2 or 2 * (i % 7 == 0)],
            }
            for i in range(count)
        ]
        for split, count in (("train", 24), ("test", 8))
    }
    DatasetDict({split: Dataset.from_list(part, features=features) for split, part in rows.items()}).save_to_disk(data / "hub")
    (code,) = lines(RECIPES / "medical_vqa.yaml", "load_dataset")
    code = code.replace("datasets.load_dataset('flaviagiammarino/vqa-rad')", f"datasets.load_from_disk('{data}/hub')")
    exec(code.replace("'recipes/", f"'{data}/"), {})  # noqa: S102 - our own recipe
    own = [f"data.options.folder={data}/vqa_rad", "data.inputs.image.size=64", "data.validation_fraction=0.25"]
    tuned = "teacher.fine_tune={epochs: 2, batch_size: 8, learning_rate: 1.0e-3}"
    return [*own, tuned, "student.encoders.image={model: mobilenet_v4, options: {width: 0.25, out: 16}}", TEXT]


def sst2(published: Path, data: Path) -> list[str]:
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    sizes = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "initializer_range": 0.3, "max_position_embeddings": 64}
    config = DistilBertConfig(
        **sizes, vocab_size=len(WORDS), id2label={0: "NEGATIVE", 1: "POSITIVE"}, label2id={"NEGATIVE": 0, "POSITIVE": 1}
    )
    DistilBertForSequenceClassification(config).save_pretrained(published)
    write_words(published)
    features = Features({"idx": Value("int32"), "sentence": Value("string"), "label": ClassLabel(names=["negative", "positive"])})
    rows = {
        split: Dataset.from_list(
            [
                {"idx": i, "sentence": f"a {('bad', 'good')[i % 2]} film {split[:1]} {chr(97 + i % 26)} .", "label": i % 2}
                for i in range(count)
            ],
            features=features,
        )
        for split, count in (("train", 40), ("validation", 12))
    }
    DatasetDict(rows).save_to_disk(data / "sst2")
    return [f"data.options={{folder: '{data}/sst2', train: train, test: validation, columns: {{text: sentence}}}}", TEXT]


def resnet(published: Path, data: Path) -> list[str]:
    from transformers import ConvNextImageProcessor, ResNetConfig, ResNetForImageClassification

    classes = yaml.safe_load((RECIPES / "imagenet_resnet50.yaml").read_text())["data"]["options"]["names"]
    config = ResNetConfig(embedding_size=8, hidden_sizes=[16, 24], depths=[1, 1], **names(list(classes.values())))
    ResNetForImageClassification(config).save_pretrained(published)
    ConvNextImageProcessor(size={"shortest_edge": 48}, crop_pct=0.875).save_pretrained(published)
    for part, count in (("train", 4), ("val", 2)):
        for place, number in enumerate(classes):
            (data / part / number).mkdir(parents=True)
            for i in range(count):
                pixels = np.random.default_rng(place * 9 + i).integers(0, 255, (5, 7, 3), np.uint8)
                Image.fromarray(pixels).resize((70, 50)).save(data / part / number / f"{part}_{i}.JPEG")
    own = [f"data.options.path={data}", f"teacher={{source: folder, path: '{published}'}}", "data.inputs.image.size=48"]
    return [*own, "student.encoders.image={model: mobilenet_v4, options: {width: 0.25, out: 16}}"]


def ast(published: Path, data: Path) -> list[str]:
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    words = yaml.safe_load((RECIPES / "speech_commands_ast.yaml").read_text())["data"]["options"]["words"]
    ASTForAudioClassification(ASTConfig(**SIZES, **names(words), max_length=40, num_mel_bins=32)).save_pretrained(published)
    ASTFeatureExtractor(max_length=40, num_mel_bins=32).save_pretrained(published)
    held: dict[str, list[str]] = {"validation": [], "testing": []}
    for place, word in enumerate([*words, "cat"]):
        (data / word).mkdir()
        for i, (split, speaker) in enumerate((("", "a"), ("", "b"), ("validation", "c"), ("testing", "d"))):
            sound = np.sin(np.arange(6000) * (0.05 + 0.1 * place)) * 0.3 + np.random.default_rng(i).normal(size=6000) / 50
            soundfile.write(data / word / f"{speaker}_nohash_0.wav", sound, 16000)
            held.setdefault(split, []).append(f"{word}/{speaker}_nohash_0.wav")
    for split in ("validation", "testing"):
        (data / f"{split}_list.txt").write_text("\n".join(held[split]))
    return [
        f"data.options.path={data}",
        "data.inputs.audio.seconds=0.4",
        "student.encoders.audio.options={width: 8, blocks: 1, out: 16, mels: 20}",
    ]


def clip(published: Path, data: Path) -> list[str]:
    """A small CLIP with its processor, and photographs with two captions each."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    words = ["a", "red", "blue", "square", "picture"]
    vocabulary = [*(chr(c) + end for c in range(97, 123) for end in ("", "</w>")), *(f"{word}</w>" for word in words[1:])]
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    merges = [(word[:i], word[i] + "</w>" * (i == len(word) - 1)) for word in words[1:] for i in range(1, len(word))]
    vocabulary += sorted({a + b for a, b in merges} - set(vocabulary))
    tokenizer = CLIPTokenizer(vocab={token: place for place, token in enumerate(vocabulary)}, merges=merges)
    small = {**SIZES, "initializer_range": 0.5}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {**small, **ends, "vocab_size": len(vocabulary), "max_position_embeddings": 40}
    CLIPModel(CLIPConfig(text_config=text, vision_config={**small, "image_size": 64, "patch_size": 32}, projection_dim=24)).save_pretrained(
        published
    )
    CLIPProcessor(CLIPImageProcessor(size={"shortest_edge": 64}, crop_size=64), tokenizer).save_pretrained(published)
    for split, count in (("train", 24), ("test", 8)):
        lines = ["image,text"]
        for i in range(count):
            Image.new("RGB", (70, 64), colour(i)).save(data / f"{split}{i}.png")
            lines += [f"{split}{i}.png,a {('red', 'blue')[i % 2]} {what} {chr(97 + i)}" for what in ("square", "picture")]
        (data / f"{split}.csv").write_text("\n".join(lines))
    own = [
        f"data.options={{train: '{data}/train.csv', test: '{data}/test.csv'}}",
        "data.task_options={size: 24}",
        "data.inputs.image.size=64",
    ]
    return [*own, "data.validation_fraction=0.25", "student.encoders.image={model: mobilenet_v4, options: {width: 0.25, out: 16}}", TEXT]


COPIES: dict[str, Callable[[Path, Path], list[str]]] = {
    "vqa_vilt": vilt,
    "medical_vqa": vqa_rad,
    "sst2_bert": sst2,
    "imagenet_resnet50": resnet,
    "speech_commands_ast": ast,
    "clip_retrieval": clip,
}


def lines(recipe: Path, word: str) -> list[str]:
    """The Python that a recipe's comments run, of those lines that have the word."""
    return [code for code in re.findall(r'^#\s+python -c "(.+)"$', recipe.read_text(), re.M) if word in code]


def fetch(recipe: Path, published: Path, out: Path) -> list[str]:
    """Runs the line of a recipe that fetches its teacher, from the folder `published` in place of the hub; nothing where the run fetches it."""
    if not (found := lines(recipe, "from_pretrained")):
        return []
    (code,) = found
    code, count = re.subn(r"n, r = '[\w./-]+', '(?:[0-9a-f]{40}|main)'", f"n, r = {str(published)!r}, 'main'", code)
    assert count == 1, "the line names a model and its commit"
    path = yaml.safe_load(recipe.read_text())["teacher"]["path"]
    assert f"recipes/{path}'" in code, "it is saved where the recipe looks for it"
    exec(code.replace(f"'recipes/{path}'", repr(str(out))), {})  # noqa: S102 - our own recipe
    return [f"teacher.path={out}"]


def test_every_recipe_whose_teacher_is_published_elsewhere_has_a_small_copy() -> None:
    sources = {path.stem: yaml.safe_load(path.read_text())["teacher"]["source"] for path in RECIPES.glob("*.yaml")}
    assert {name for name, source in sources.items() if source in ("hub", "folder")} == set(COPIES)


@pytest.mark.parametrize("name", COPIES)
def test_small_copy_is_read_as_the_teacher_that_the_student_can_start_from(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    published, data, recipe = tmp_path / "published", tmp_path / "data", RECIPES / f"{name}.yaml"
    for folder in (published, data):
        folder.mkdir()
    overrides = COPIES[name](published, data) + fetch(recipe, published, tmp_path / "fetched")
    result = run(load_recipe(recipe, overrides), runs=tmp_path / "runs", threads=1, last="teacher", say=lambda line: None)
    report = result.artifacts["data"].details
    assert 0 <= result.artifacts["teacher"].metrics["validation_accuracy"]["value"] <= 100
    assert all(report["splits"][split]["rows"] for split in ("train", "validation", "test"))
    assert ("fine_tune" in result.artifacts["teacher"].details) == (name == "medical_vqa")
    if name == "vqa_vilt":
        assert report["skipped"]["reasons"]["no label"]["count"] == 4  # teal, which the model does not know
