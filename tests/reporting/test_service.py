"""What the report says of a model at work."""

from __future__ import annotations

from compress.reporting.service import show_around, show_streams

TIMES = {"median_ms": 0.5, "p95_ms": 0.9, "low_ms": 0.4, "high_ms": 0.6}
RATIO = {"value": 1.8, "low": 1.7, "high": 1.9}


def line(streams: int, rate: float, *, joules: float | None = None) -> dict:
    energy = joules and {"value": joules, "unit": "J"}
    return {
        "streams": streams,
        "answers_per_s": {"value": rate, "low": rate - 10, "high": rate + 10},
        "over_one": RATIO if streams > 1 else None,
        "joules": energy,
    }


def measured(*, packages: tuple[str, ...] = (), joules: float | None = None) -> dict:
    models = {
        "teacher": {"latency": None},
        "int8": {"latency": {"1": TIMES}, "streams": [line(1, 100, joules=joules), line(2, 180, joules=joules)]},
    }
    around = {"of": "fp32", "inputs": {"image": {"PNG": TIMES, "JPEG": TIMES}}, "answer": {**TIMES, "median_ms": 0.01}}
    return {"models": models, "around": around, "energy": {"packages": [*packages], "why": None if packages else "there is no RAPL"}}


def test_a_row_is_followed_from_its_input_to_its_answer() -> None:
    rows = show_around(measured(), shipped="int8")["rows"]
    assert [row["step"] for row in rows] == ["read image", "read image", "model", "answer"]
    assert (rows[1]["of what"], rows[3]["median, ms"], rows[0]["95 %"]) == ("JPEG", "0.0100", "0.400 to 0.600")
    assert show_around({"models": {}}, shipped="int8")["rows"] == []


def test_callers_are_shown_beside_one_and_why_there_is_no_energy() -> None:
    shown = show_streams(measured())
    assert [row["over one caller"] for row in shown["rows"]] == ["–", "1.80 (1.70 to 1.90)"]
    assert shown["rows"][0]["answers a second"] == "100 (90.0 to 110)"
    assert shown["note"].endswith("could not be read: there is no RAPL.") and "mJ an answer" not in shown["rows"][0]


def test_energy_is_shown_where_it_was_read() -> None:
    shown = show_streams(measured(packages=("package-0",), joules=0.02))
    assert shown["rows"][0]["mJ an answer"] == "20.0" and "package-0 by RAPL" in shown["note"]
