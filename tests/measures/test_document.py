"""measurements.json as it is described: the published schema is current, strict, and is what validators take."""

from __future__ import annotations

import json
from pathlib import Path

import fastjsonschema
import pytest
from pydantic import ValidationError

from compress.measures.document import Accuracy, Share, json_schema

PUBLISHED = Path(__file__).resolve().parents[2] / "docs" / "measurements.schema.json"
SHARE = {"value": 0.5, "low": 0.4, "high": 0.6, "samples": 10, "unit": "fraction"}
PAIRED = {"difference": 1.0, "low": 0.0, "high": 2.0, "a_only": 3, "b_only": 2, "p": 0.5, "samples": 10, "clusters": None}
PAIRED |= {"method": "McNemar", "margin": None, "unit": "points", "verdict": "not shown"}


def test_published_schema_is_current() -> None:
    found = json.loads(PUBLISHED.read_text())
    assert found == json_schema(), "run `compress schema measurements > docs/measurements.schema.json`"


def test_a_key_that_nobody_described_is_refused() -> None:
    with pytest.raises(ValidationError, match="surprise"):
        Share.model_validate({**SHARE, "surprise": 1})


def test_accuracy_may_be_compared_with_the_baseline_of_any_modality() -> None:
    Accuracy.model_validate({**SHARE, "against_smell_alone": PAIRED})
    with pytest.raises(ValidationError):
        Accuracy.model_validate({**SHARE, "against_smell_alone": 1})


def test_validator_takes_the_schema_and_every_key_of_it_says_what_it_is() -> None:
    schema = json_schema()
    fastjsonschema.compile(schema)
    silent = [
        f"{name}.{key}" for name, part in schema["$defs"].items() for key, said in part["properties"].items() if not said.get("description")
    ]
    assert silent == []
