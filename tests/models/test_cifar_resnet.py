"""ResNets for small images, and the published names of their weights."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from ports import io_spec

from compress.models.cifar_resnet import BasicBlock, cifar_resnet, rename_weights
from compress.models.saved import count_parameters

IO = io_spec(image_size=32, text_length=None, vocabulary=None, classes=10)
SHARED = Path(__file__).parents[3] / "shared" / "data"
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]  # the weights' order
PUBLISHED = SHARED / "weights" / "resnet20-12fca82f.th"


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (56, 0.85)])  # table 6 of the paper
def test_number_of_parameters_is_the_papers(depth: int, millions: float) -> None:
    assert count_parameters(cifar_resnet(IO, depth=depth)) / 1e6 == pytest.approx(millions, abs=0.006)


@torch.no_grad()
def test_shortcut_takes_every_second_pixel_and_adds_channels_of_zeros() -> None:
    block, x = BasicBlock(4, 8, 2).eval(), torch.rand(1, 4, 6, 6)
    torch.nn.init.zeros_(block.bn2.weight)  # so that the shortcut alone is left
    y = block(x)
    assert torch.equal(y[:, 2:6], x[:, :, ::2, ::2]) and not y[:, :2].any() and not y[:, 6:].any()


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_published_names_become_ours(prefix: str) -> None:
    model = cifar_resnet(IO, depth=8)
    published = {
        prefix + name.removeprefix("encoders.image.").replace("head.output.", "linear."): value
        for name, value in model.state_dict().items()
    }
    assert prefix + "linear.weight" in published and prefix + "layer1.0.conv1.weight" in published
    assert {k: v.shape for k, v in rename_weights(published).items()} == {k: v.shape for k, v in model.state_dict().items()}


@torch.no_grad()
def test_published_resnet20_recognises_cifar_images() -> None:
    images = SHARED / "cifar10_test.parquet"
    if not PUBLISHED.is_file() or not images.is_file():
        pytest.skip(f"{PUBLISHED} or {images} is not there")
    import pyarrow.parquet
    from PIL import Image

    from compress.stages.teacher import read_weights

    model = cifar_resnet(IO, depth=20).eval()
    model.load_state_dict(rename_weights(read_weights(PUBLISHED)))
    rows = next(pyarrow.parquet.ParquetFile(images).iter_batches(500)).to_pydict()
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(content))) for content in rows["image"]])
    found = model({"image": torch.from_numpy(pixels)}).logits.argmax(1).tolist()
    right = sum(CLASSES[index] == label for index, label in zip(found, rows["label"], strict=True))
    # 91.8 % is published, for the images as they were; these are JPEG at quality 75 with halved chroma, of which ResNet-20 knows 81 %
    assert right / 500 > 0.79  # blue for red gives 73 %, another normalisation 69 %
