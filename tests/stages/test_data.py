"""The data stage: what it writes and says."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from sections import data_section

from compress.context import Context
from compress.data.easy_vqa import easy_vqa
from compress.data.prepare import open_data
from compress.stages.data import prepare_data


def test_prepare_data_writes_under_out_and_says_what_it_holds(tmp_path: Path) -> None:
    said: list[str] = []
    config = data_section(
        source="easy_vqa", inputs={"image": {"size": 16}, "text": {"length": 8}}, train_limit=30, test_limit=10, labelled_fraction=0.5
    )
    context = Context(out=tmp_path, say=said.append)
    recipe = SimpleNamespace(data=config, teacher=SimpleNamespace(inputs=None))
    report = prepare_data(recipe, source=easy_vqa(base=tmp_path), ctx=context).details
    assert open_data(tmp_path).report == report
    assert report["splits"]["train"]["labelled_inputs"] == 15
    summary = next(line for line in said if line.startswith("data: train "))
    assert summary.startswith("data: train ") and "30 images" in summary and "unlabelled" in summary and "text alone" in summary
    assert open_data(tmp_path).task.name == "single_label"
