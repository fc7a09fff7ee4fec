"""The call that all models share: rows over distinct inputs, the same in eval mode each time; every entry of MODELS keeps it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from ports import io_spec
from torch import Tensor, nn

from compress.io_spec import PRESENT, IOSpec, Outputs
from compress.models.classifier import Classifier, Head, LinearHead, RowModel, by_row
from compress.models.saved import load_model, save_model
from compress.tables import MODELS, resolve

CLASSES, LENGTH, SIZE, TOKENS = 3, 6, 16, 40
BOTH = ("image", "text")
ENCODERS = {
    "image": {"model": "mobilenet_v4", "options": {"width": 0.25, "out": 16, "stem_stride": 1}},
    "text": {"model": "distilbert", "options": {"layers": 1, "width": 16, "heads": 2, "feedforward": 16}},
}
BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": TOKENS,
    "id2label": {str(i): str(i) for i in range(5)},
}

SPACE = 12
CLIP = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": SIZE, "patch_size": 8}

# name -> modalities and options; a new entry of MODELS needs a line here
EXAMPLES: dict[str, tuple[tuple[str, ...], dict]] = {
    "student": (BOTH, {"encoders": ENCODERS, "head_width": 16}),
    "fitted_teacher": (("image",), {"encoders": {"image": ENCODERS["image"]}, "hidden": 16}),
    "transformers_teacher": (
        ("text",),
        {"config_folder": "config", "columns": [4, 0, 2], "padding": 0, "mean": [0.5] * 3, "deviation": [0.5] * 3},
    ),
    "sentence_teacher": (("text",), {"config_folder": "config", "padding": 0, "pooling": "mean"}),
    "cifar_resnet": (("image",), {"depth": 8}),
    "zero_shot": (("image",), {"config_folder": "dual", "width": SPACE, "mean": [0.5] * 3, "deviation": [0.25] * 3}),
    "dual_teacher": (BOTH, {"config_folder": "dual", "mean": [0.5] * 3, "deviation": [0.25] * 3}),
    "onnx_teacher": (("image",), {"file": "net.onnx"}),
}
OUTPUTS = {"sentence_teacher": BERT["hidden_size"], "dual_teacher": 2 * SPACE}  # whose vectors are as wide as their space


def ports(modalities: tuple[str, ...]) -> IOSpec:
    image, text = (m in modalities for m in BOTH)
    return io_spec(
        image_size=SIZE if image else None, text_length=LENGTH if text else None, vocabulary=TOKENS if text else None, classes=CLASSES
    )


def inputs(modalities: tuple[str, ...], count: int = 4) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    text = torch.randint(1, TOKENS, (count, LENGTH), generator=generator)
    text[::2, 4:] = 0
    image = torch.randint(0, 256, (count, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator)
    return {m: {"image": image, "text": text}[m] for m in modalities}


@pytest.fixture
def build(tmp_path: Path) -> Callable[[str], nn.Module]:
    """The example of one entry of MODELS, its configuration files beside it."""

    def built(name: str) -> nn.Module:
        torch.manual_seed(0)
        (tmp_path / "config").mkdir(exist_ok=True)
        (tmp_path / "config" / "config.json").write_text(json.dumps(BERT))
        (tmp_path / "dual").mkdir(exist_ok=True)
        reads = {**{key: CLIP[key] for key in CLIP if "size" not in key}, "hidden_size": 16, "intermediate_size": 16, "vocab_size": TOKENS}
        both = {"vision_config": CLIP, "text_config": {**reads, "max_position_embeddings": LENGTH}, "projection_dim": SPACE}
        (tmp_path / "dual" / "config.json").write_text(json.dumps({"model_type": "clip", **both}))
        write_net(tmp_path / "net.onnx")
        modalities, options = EXAMPLES[name]
        options = {**options, **{key: str(tmp_path / options[key]) for key in ("config_folder", "file") if key in options}}
        return resolve(MODELS[name])(ports(modalities), **options).eval()

    return built


def write_net(path: Path) -> None:
    """image (n, SIZE, SIZE, 3) uint8 -> logits (n, CLASSES): the mean of each colour."""
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["logits"], keepdims=0),
    ]
    port = helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", SIZE, SIZE, 3])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])
    graph = helper.make_graph(nodes, "net", [port], [logits], [helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


def test_every_model_has_an_example() -> None:
    assert set(EXAMPLES) == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_model_gives_float32_logits_the_same_each_time(name: str, build: Callable) -> None:
    model, given = build(name), inputs(EXAMPLES[name][0])
    logits = model(given).logits
    assert logits.shape == (4, OUTPUTS.get(name, CLASSES)) and logits.dtype == torch.float32 and torch.isfinite(logits).all()
    assert torch.equal(model(given).logits, logits)
    assert name == "onnx_teacher" or len(model(given).embedding) == 4  # into a file of others nobody looks
    assert logits.std(0).max() > 0  # it looks at its inputs


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_rows_over_distinct_inputs_give_what_laid_out_rows_give(name: str, build: Callable) -> None:
    model, given = build(name), inputs(EXAMPLES[name][0])
    rows = {m: torch.tensor(r) for m, r in (("image", [0, 0, 3, 1, 2]), ("text", [3, 1, 1, 0, 2])) if m in given}
    laid_out = {m: x[rows[m]] for m, x in given.items()}
    one_by_one = torch.cat([model({m: x[i : i + 1] for m, x in laid_out.items()}).logits for i in range(5)])
    for outputs in (model(given, rows), model(laid_out)):
        torch.testing.assert_close(outputs.logits, one_by_one, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_saved_model_comes_back_bit_for_bit(name: str, build: Callable, tmp_path: Path) -> None:
    modalities, options = EXAMPLES[name]
    model = build(name)
    for value in model.state_dict().values():
        if value.dtype == torch.float32:
            value.add_(0.1 * torch.rand_like(value))  # fresh running statistics and zero biases would come back by themselves
    save_model(model, tmp_path, name=name, options=options, io=ports(modalities))
    loaded, given = load_model(tmp_path), inputs(modalities)
    assert not loaded.training
    assert all(torch.equal(value, model.state_dict()[place]) for place, value in loaded.state_dict().items())
    assert torch.isfinite(model(given).logits).all() and torch.equal(loaded(given).logits, model(given).logits)


@pytest.mark.parametrize("name", ["student", "cifar_resnet"])
def test_every_parameter_gets_a_gradient(name: str, build: Callable) -> None:
    model = build(name).train()
    model(inputs(EXAMPLES[name][0])).logits.square().sum().backward()
    without = [place for place, p in model.named_parameters() if p.grad is None]
    assert without == []


def test_inputs_are_encoded_once_however_many_rows_use_them() -> None:
    seen = []

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(len(x))
            return x

    model = Classifier({"image": Counting()}, LinearHead("image", 2, 3))
    assert model({"image": torch.randn(2, 2)}, {"image": torch.tensor([0, 1, 1, 1, 0])}).logits.shape == (5, 3)
    assert seen == [2]


def test_head_multiplies_projections() -> None:
    head = Head({"image": 2, "text": 2}, hidden=2, classes=2)
    with torch.no_grad():
        for linear in (*(part[0] for part in head.project.values()), head.mix[0], head.output):
            linear.weight.copy_(torch.eye(2))
            linear.bias.zero_()
    logits = head({"image": torch.tensor([[2.0, -3.0], [2.0, -3.0]]), "text": torch.tensor([[5.0, 4.0], [4.0, 5.0]])})
    # two channels normalise to +-1: (1, -1) * (1, -1) = (1, 1), and (1, -1) * (-1, 1) = (-1, -1), which the ReLU takes to 0
    torch.testing.assert_close(logits.logits, torch.tensor([[1.0, 1.0], [0.0, 0.0]]), atol=1e-3, rtol=0)


def test_head_normalises_each_projection() -> None:
    head = Head({"image": 4, "text": 3}, hidden=8, classes=2)
    assert [isinstance(part[-1], nn.LayerNorm) for part in head.project.values()] == [True, True]


@torch.no_grad()
def test_what_stands_for_a_missing_input_never_shows() -> None:
    torch.manual_seed(0)
    head = Head({"image": 4, "text": 3}, hidden=8, classes=2, gaps=True).eval()
    head.absent.normal_()
    image, text, there = torch.randn(2, 4), torch.randn(2, 3), torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    outputs = head({"image": image, "text": text, PRESENT: there}).logits
    other = head({"image": image, "text": text + 1, PRESENT: there}).logits
    assert torch.equal(outputs[1], other[1]) and not torch.equal(outputs[0], other[0])
    head.absent[1] += 1  # what is learned of a text that is not there
    assert not torch.equal(head({"image": image, "text": text, PRESENT: there}).logits[1], outputs[1])


@torch.no_grad()
def test_a_missing_input_starts_as_one_that_the_product_does_not_notice() -> None:
    torch.manual_seed(0)
    head = Head({"image": 4, "text": 3}, hidden=8, classes=2, gaps=True).eval()
    image = torch.randn(2, 4)
    alone = head({"image": image, "text": torch.randn(2, 3), PRESENT: torch.tensor([[1.0, 0.0]]).expand(2, 2)})
    torch.testing.assert_close(alone.embedding, head.mix(head.project["image"](image)))


def test_a_head_without_gaps_has_no_weights_for_them() -> None:
    assert "absent" not in Head({"image": 4, "text": 3}, hidden=8, classes=2).state_dict()


def test_dropout_is_off_in_eval_mode() -> None:
    head, x = LinearHead("image", 64, 2, dropout=0.5), {"image": torch.ones(1, 64)}
    torch.manual_seed(0)
    assert not torch.equal(head(x).logits, head(x).logits)
    head.eval()
    assert torch.equal(head(x).logits, head(x).logits)


def test_row_model_lays_rows_out() -> None:
    class Echo(RowModel):
        def classify(self, inputs: dict[str, Tensor]) -> Outputs:
            return Outputs(torch.cat([inputs["image"], inputs["text"]], 1))

    given = {"image": torch.tensor([[1], [2]]), "text": torch.tensor([[10], [20]])}
    rows = {"image": torch.tensor([1, 1, 0]), "text": torch.tensor([0, 1, 1])}
    assert Echo()(given, rows).logits.tolist() == [[2, 10], [2, 20], [1, 20]]
    assert Echo()(given).logits.tolist() == [[1, 10], [2, 20]]


def test_gradient_of_inputs_that_many_rows_share_is_the_same_each_time() -> None:
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(64, 256, generator=draw, requires_grad=True)
    rows, weights = {"image": torch.randint(64, (640,), generator=draw)}, torch.randn(640, 256, generator=draw)

    def gradient() -> Tensor:
        (found,) = torch.autograd.grad((by_row({"image": features}, rows)["image"] * weights).sum(), features)
        return found

    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # with one there is but one order
    try:
        first = gradient()
        assert all(torch.equal(first, gradient()) for _ in range(20))
    finally:
        torch.set_num_threads(threads)
