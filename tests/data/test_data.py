"""The table of data sets, and what importing it costs."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from compress.data.prepare import prepare
from compress.recipe.options import check_options
from compress.tables import DATASETS, resolve


@pytest.fixture
def options(rows: dict, write_csv: Callable, tmp_path: Path) -> dict[str, dict]:
    """Good options of each data set."""
    import datasets

    for split, some in rows.items():
        write_csv(tmp_path / f"{split}.csv", some)
    tables = {split: datasets.Dataset.from_list(some).cast_column("text", datasets.Value("string")) for split, some in rows.items()}
    datasets.DatasetDict(tables).save_to_disk(str(tmp_path))
    for digit, speaker, take in itertools.product(range(2), ("george", "jackson", "theo"), range(8)):
        soundfile.write(tmp_path / f"{digit}_{speaker}_{take}.wav", np.full(8, (digit + 1) * (take + 1) / 100), 8000)
    fsdd = {"path": ".", "test_speakers": ["theo"]}
    return {"easy_vqa": {}, "manifest": {"train": "train.csv", "test": "test.csv"}, "hub": {"folder": "."}, "fsdd": fsdd}


@pytest.mark.parametrize("name", DATASETS)
def test_dataset_opens_checks_and_prepares(name: str, options: dict, config: Callable, tmp_path: Path) -> None:
    function = resolve(DATASETS[name])
    assert check_options(function, options[name], "data.options", injected={"base"}) == []
    source = function(base=tmp_path, **options[name])
    assert source.identity and source.identity == function(base=tmp_path, **options[name]).identity
    inputs = {"audio": {"seconds": 0.01, "rate": 8000}} if name == "fsdd" else {"image": {"size": 8}, "text": {"length": 8}}
    limits = config(train_limit=8, test_limit=4, inputs=inputs)
    report = prepare(source, limits, tmp_path / "out", say=lambda line: None)
    assert report["splits"]["train"]["inputs"][next(iter(inputs))] == 8
    assert report["splits"]["test"]["inputs"][next(iter(inputs))] == 4


@pytest.mark.parametrize("name", DATASETS)
def test_dataset_refuses_an_unknown_option(name: str) -> None:
    assert check_options(resolve(DATASETS[name]), {"trian": "a"}, "data.options", injected={"base"})[0].startswith(
        "data.options.trian: unknown option"
    )


def test_importing_the_table_and_its_functions_imports_nothing_heavy() -> None:
    code = (
        "import sys; from compress.tables import DATASETS, resolve; [resolve(entry) for entry in DATASETS.values()]; "
        "print([m for m in ('torch', 'pyarrow', 'datasets', 'numpy', 'PIL') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root).stdout.strip() == "[]"
