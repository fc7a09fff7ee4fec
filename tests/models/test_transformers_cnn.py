"""Convolutional nets of transformers in our layers: the same features as before, trainable norms, int8 for all of it; the rest is refused by name.

The weights are random: what is proven is the layout, not what published weights know.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from ports import io_spec
from torch import nn
from transformers import (
    EfficientNetConfig,
    EfficientNetModel,
    MobileNetV1Config,
    MobileNetV1Model,
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
    MobileNetV2Model,
    ResNetConfig,
    ResNetModel,
)

from compress.errors import DependencyError, RecipeError
from compress.graphs.contract import check_tensorrt
from compress.graphs.coverage import int8_coverage
from compress.graphs.graph import Graph
from compress.graphs.retarget import retarget
from compress.graphs.trace import run_model
from compress.io_spec import Port
from compress.models.classifier import Classifier, LinearHead
from compress.models.inherit_image import find_source, inherit_image
from compress.models.mobilenet_v2 import mobilenet_v2
from compress.models.saved import load_model, save_model
from compress.models.transformers_cnn import convert, transformers_cnn
from compress.models.transformers_model import TransformersTeacher
from compress.quantizers import calibrate, freeze, prepare, qdq_opset
from compress.recipe.sections import Quantize
from compress.stages.export import clean
from compress.stages.export.from_torch import export_module

SIZES = {"embedding_size": 8, "hidden_sizes": [16, 24], "depths": [2, 1]}
MODELS: dict[str, Callable[[], Any]] = {
    "mobilenet_v1": lambda: MobileNetV1Model(MobileNetV1Config(depth_multiplier=0.125, min_depth=8, tf_padding=True)),
    "mobilenet_v1, even padding": lambda: MobileNetV1Model(MobileNetV1Config(depth_multiplier=0.125, min_depth=8, tf_padding=False)),
    "mobilenet_v2": lambda: MobileNetV2Model(MobileNetV2Config(depth_multiplier=0.35, tf_padding=True)),
    "mobilenet_v2, even padding": lambda: MobileNetV2Model(MobileNetV2Config(depth_multiplier=0.35, tf_padding=False)),
    "mobilenet_v2, dilated": lambda: MobileNetV2Model(MobileNetV2Config(depth_multiplier=0.35, output_stride=8)),
    "resnet, basic": lambda: ResNetModel(ResNetConfig(layer_type="basic", **SIZES)),
    "resnet, bottleneck": lambda: ResNetModel(ResNetConfig(layer_type="bottleneck", downsample_in_first_stage=True, **SIZES)),
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@torch.no_grad()
def settled(model: Any, size: int = 64) -> Any:
    """The model with norms that are as after a training: true statistics, scales and shifts of their own."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.8, 1.4)
        nn.init.normal_(norm.bias, std=0.3)
        norm.momentum = None
    model.train()(pixels(images(24, size)))
    for norm in norms:
        norm.momentum = 0.997
    return model.eval()


def images(count: int, size: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def pixels(image: torch.Tensor) -> torch.Tensor:
    return (image.permute(0, 3, 1, 2).float() - 128) / 64


@pytest.mark.parametrize("size", [64, 65, 50])  # even and odd maps, at different depths
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_features_are_those_of_transformers(name: str, size: int) -> None:
    model = settled(MODELS[name]())
    expected = model(pixels(images(3, size))).pooler_output.flatten(1)
    net = convert(copy.deepcopy(model), size).eval()
    assert net.width == expected.shape[1]
    torch.testing.assert_close(net(images(3, size)), expected, atol=1e-4, rtol=1e-4)


def test_norms_take_torchs_momentum() -> None:
    model = MODELS["mobilenet_v2"]()
    assert {m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {0.997}
    assert {m.momentum for m in convert(model, 64).modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}


@pytest.fixture(params=["mobilenet_v1", "mobilenet_v2", "resnet, basic", "resnet, bottleneck"])
def symmetric(request: pytest.FixtureRequest) -> onnx.ModelProto:
    """The symmetric int8 graph with a linear head, calibrated on noise, checked against fake-quantized torch."""
    net = convert(settled(MODELS[request.param]()), 64)
    prepared = prepare(Classifier({"image": net}, LinearHead("image", net.width, 5)).eval(), Quantize())
    calibrate(prepared, [({"image": images(16, 64)}, None)])
    frozen = freeze(prepared)
    with qdq_opset(20):
        graph = clean(export_module(frozen, io_spec(image_size=64, classes=5), 20))
    with torch.no_grad():
        expected = frozen({"image": images(8, 64)}).logits.numpy()
    got = run_model(graph, {"image": images(8, 64).numpy()}, optimise=False)["logits"]
    assert np.linalg.norm(got - expected) < 0.02 * np.linalg.norm(expected)
    return graph


def test_all_of_it_runs_in_int8_and_keeps_to_tensorrts_contract(symmetric: onnx.ModelProto) -> None:
    coverage = int8_coverage(retarget(symmetric, "onnxruntime_x86"))
    assert coverage.share == 1.0, [node for node in coverage.nodes if not node.int8]
    graph = Graph(retarget(symmetric, "onnxruntime_arm"))
    convolutions = [node for node in graph.proto.node if node.op_type == "Conv"]
    assert convolutions
    assert all(graph.producer(name, op_type="DequantizeLinear") is not None for node in convolutions for name in node.input[:2])
    assert check_tensorrt(retarget(symmetric, "tensorrt")) == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A MobileNetV2 with its classifier, as save_pretrained writes it, and its processor."""
    config = MobileNetV2Config(depth_multiplier=0.35, num_labels=3)
    settled(MobileNetV2ForImageClassification(config)).save_pretrained(tmp_path / "net")
    (tmp_path / "net" / "preprocessor_config.json").write_text('{"image_processor_type": "MobileNetV2ImageProcessor"}')
    return tmp_path / "net"


PORT = Port("image", "uint8", (64, 64, 3), 0, 255)


@torch.no_grad()
def test_weights_and_pixel_arithmetic_come_from_the_folder(folder: Path) -> None:
    encoder = transformers_cnn(PORT, folder=str(folder)).eval()
    encoder.load_pretrained([0.5] * 3, [0.5] * 3)
    model = MobileNetV2Model.from_pretrained(folder).eval()
    x = (images(2, 64).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5  # what MobileNetV2's processor does
    # its zeros at the border are the grey 127.5, ours 128
    torch.testing.assert_close(encoder(images(2, 64)), model(x).pooler_output, atol=2e-2, rtol=2e-2)


@torch.no_grad()
def test_saved_student_is_built_again_without_its_folder(folder: Path, tmp_path: Path) -> None:
    encoder = transformers_cnn(PORT, folder=str(folder)).eval()
    encoder.load_pretrained([0.5] * 3, [0.5] * 3)
    assert str(folder) not in str(encoder.rebuilt_with)
    io, options = io_spec(image_size=64, classes=4), {"encoders": {"image": {"model": "transformers_cnn", "options": encoder.rebuilt_with}}}
    student = Classifier({"image": encoder}, LinearHead("image", encoder.width, 4)).eval()
    save_model(student, tmp_path, name="student", options={**options, "head_width": 8}, io=io)
    (folder / "config.json").unlink()
    torch.testing.assert_close(load_model(tmp_path)({"image": images(2, 64)}).logits, student({"image": images(2, 64)}).logits)


def test_incomplete_weights_are_refused(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in state.items() if "conv_1x1" not in k}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DependencyError, match="the weights lack .* of the model's parts, such as .*conv_1x1"):
        transformers_cnn(PORT, folder=str(folder)).load_pretrained([0.5] * 3, [0.5] * 3)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            lambda: EfficientNetModel(EfficientNetConfig(width_coefficient=0.25, depth_coefficient=0.1)),
            "squeeze-excite and SiLU run in no int8",
        ),
        (lambda: ResNetModel(ResNetConfig(hidden_act="gelu", **SIZES)), "activation GELUActivation"),
        (lambda: MobileNetV1Model(MobileNetV1Config(depth_multiplier=0.125, hidden_act="silu")), "activation SiLU.*ReLU and ReLU6 do"),
        (lambda: MobileNetV2Model(MobileNetV2Config(depth_multiplier=0.35, first_layer_is_expansion=False)), "first_layer_is_expansion"),
    ],
)
def test_what_cannot_run_in_int8_is_named(model: Callable[[], nn.Module], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        convert(model(), 64)


def test_place_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="give a folder with config.json"):
        transformers_cnn(PORT, folder=str(tmp_path))


@torch.no_grad()
def test_student_is_picked_from_a_transformers_teacher(folder: Path) -> None:
    body = MobileNetV2ForImageClassification.from_pretrained(folder).eval()
    teacher = TransformersTeacher(body, columns=[0, 1, 2], padding=0, mean=[0.5] * 3, deviation=[0.5] * 3)
    source = find_source(teacher)
    assert not hasattr(source.pixels, "never") and source.blocks()[1][0].depthwise.conv.kernel_size == (3, 3)
    student = mobilenet_v2(PORT, width=0.25, stride=16, out=48)
    inherit_image(student, source, images(16, 64))
    rows = {tuple(w.flatten().tolist()) for w in source.last.norm.bias[:, None]}
    assert all(tuple(w.flatten().tolist()) in rows for w in student.last.norm.bias[:, None])
    assert isinstance(body.mobilenet_v2.conv_stem.first_conv.convolution, nn.Conv2d) and body(pixels(images(1, 64))).logits.shape == (1, 3)
