"""What the report says of a model at work: what a device does around it, several callers at once, energy."""

from __future__ import annotations

from typing import Any

from compress.reporting.cells import significant


def show_around(measured: dict[str, Any], *, shipped: str) -> dict[str, Any]:
    """The table of one row's way through the shipped runner: its inputs read, the model, the answer made; rows empty where it was not timed."""
    around = measured.get("around")
    if not around:
        return {"title": "From input to answer", "note": "", "rows": []}
    steps = [(f"read {name}", form, times) for name, forms in around["inputs"].items() for form, times in forms.items()]
    model = (measured["models"][shipped]["latency"] or {}).get("1")
    steps += [("model", f"{shipped}, batch 1", model)] if model else []
    steps.append(("answer", f"outputs of {around['of']}", around["answer"]))
    note = (
        "Beside the model, a device reads what it is given (decodes, resizes, tokenises) and makes an answer of the outputs, here by the runner's own "
        "code, in one thread, from files and texts made of test rows. The steps that one input needs add up; of several forms it has one."
    )
    return {"title": "From input to answer", "note": note, "rows": [_step(*step) for step in steps]}


def show_streams(measured: dict[str, Any]) -> dict[str, Any]:
    """The table of answers a second with several callers, and the joules of an answer where they could be read."""
    rows, energy = [], measured.get("energy") or {"packages": [], "why": "it was not looked for"}
    for name, model in measured["models"].items():
        for line in model.get("streams") or []:
            rate, over = line["answers_per_s"], line["over_one"]
            cells = {"model": name, "callers": line["streams"], "answers a second": _spread(rate)}
            cells["over one caller"] = (
                f"{significant(over['value'])} ({significant(over['low'])} to {significant(over['high'])})" if over else "–"
            )
            if energy["packages"]:
                cells["mJ an answer"] = significant(line["joules"] and 1000 * line["joules"]["value"])
            rows.append(cells)
    counted = f"Energy is that of {', '.join(energy['packages'])} by RAPL, with its idle part." if energy["packages"] else ""
    note = (
        "At batch 1: so many threads ask one open model, which computes each answer with one thread; the median, the smallest and the largest of a few "
        f"slices in turns. {counted or 'The energy of an answer could not be read: ' + str(energy['why']) + '.'}"
    )
    return {"title": "Several callers at once", "note": note, "rows": rows}


def _step(step: str, what: str, times: dict[str, Any]) -> dict[str, Any]:
    interval = f"{significant(times['low_ms'])} to {significant(times['high_ms'])}"
    return {
        "step": step,
        "of what": what,
        "median, ms": significant(times["median_ms"]),
        "95 %": interval,
        "p95, ms": significant(times["p95_ms"]),
    }


def _spread(rate: dict[str, Any]) -> str:
    return f"{significant(rate['value'])} ({significant(rate['low'])} to {significant(rate['high'])})"
