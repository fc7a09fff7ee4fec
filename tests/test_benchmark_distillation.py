"""The benchmark of ways to distil: which arms a set has, what they change, and the shares of the teacher's lead that its table tells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compress.errors import RecipeError
from compress.recipe.grammar import load_recipe


def result(program: Any, arm: str, right: list[bool], seed: int = 0, **changes: Any) -> dict[str, Any]:
    """A result as distillation.py writes it, as far as the table reads it."""
    origin = {"device": {"name": "cpu", "cores": 2}, "threads": 1, "versions": {"torch": "2.13"}, "git_commit": "a" * 40, "git_clean": True}
    hits = np.array(right)
    told = {"set": "banking77", "arm": arm, "seed": seed, "overrides": [], "samples": len(hits), "rows": 9000, "clusters": None}
    told |= {
        "accuracy": {"value": 100 * float(hits.mean())},
        "validation": 50.0,
        "seconds": 60.0,
        "right": program("distillation").pack(hits),
    }
    return {**origin, **told, **changes}


def first(share: float, of: int = 400) -> list[bool]:
    """The first rows right, so many of them."""
    return [row < share * of for row in range(of)]


def test_every_arm_of_every_set_is_a_recipe_of_as_many_steps(program: Any) -> None:
    distillation = program("distillation")
    for name, chosen in distillation.SETS.items():
        for arm in distillation.arms_of(name):
            places = [f"{place}=x.parquet" for place in chosen.files]
            try:
                recipe = load_recipe(distillation.ROOT / chosen.recipe, [*places, *distillation.overrides_for(name, arm)]).recipe
            except RecipeError as error:  # its files lie elsewhere
                assert all("no such file" in problem or "is not there" in problem for problem in error.problems), (
                    name,
                    arm,
                    error.problems,
                )
                continue
            assert recipe.distill.train.min_steps == recipe.distill.train.max_steps == chosen.steps
            assert recipe.distill.asks_teacher == (arm != "alone") and not recipe.distill.compare_alone
            assert len(recipe.teachers) == (2 if arm.startswith("two teachers") else 0)


def test_arms_have_names_of_their_own_as_files(program: Any) -> None:
    distillation = program("distillation")
    arms = [distillation.slug(arm) for arm in distillation.arms_of("banking77")]
    assert len(set(arms)) == len(arms) and arms[0] == "teacher"
    assert "kd and each modality" in distillation.arms_of("easy_vqa_5") and "kd and each modality" not in arms
    assert "two teachers" not in distillation.arms_of("cifar10") and "texts in other words" not in distillation.arms_of("fruit")


def test_share_of_the_lead_is_that_of_all_seeds_with_its_interval(program: Any) -> None:
    distillation = program("distillation")
    found = {
        arm: {seed: result(program, arm, first(share + 0.01 * seed), seed) for seed in (0, 1)}
        for arm, share in (("teacher", 0.9), ("alone", 0.5), ("kd", 0.6))
    }
    share, low, high = distillation.shares(found, "kd")
    assert share == pytest.approx(25) and 10 < low < 25 < high < 40  # 10 of 40 points
    none = {**found, "teacher": {0: result(program, "teacher", first(0.5))}}
    assert distillation.shares(none, "kd") is None  # a teacher that does not lead


def test_rows_of_one_cluster_are_one_draw(program: Any) -> None:
    distillation = program("distillation")
    arms = {arm: {0: result(program, arm, first(share))} for arm, share in (("teacher", 0.9), ("alone", 0.5), ("kd", 0.6))}
    _, low, high = distillation.shares(arms, "kd")
    arms["teacher"][0]["clusters"] = distillation.pack(np.repeat(np.arange(20), 20).astype(np.uint16))
    _, wider_low, wider_high = distillation.shares(arms, "kd")
    assert wider_high - wider_low > 2 * (high - low)


def test_table_has_the_teacher_and_the_student_alone_first(program: Any) -> None:
    results = [result(program, "kd", first(0.6), seed) for seed in (0, 1)] + [result(program, "dist", first(0.7))]
    results += [result(program, arm, first(share), **more) for arm, share, more in (("alone", 0.5, {"rate": 3e-3}), ("teacher", 0.9, {}))]
    results += [result(program, "kd", first(0.1), 2, overrides=["x=1"])]
    lines = program("distillation").tables(results)["distillation"].splitlines()
    assert lines[0] == "BANKING77, a transformer: 9,000 training rows, 2,000 steps, 400 test rows."
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[4:8]]
    assert [line[:2] for line in cells] == [["teacher", "0"], ["alone, rate 3.0e-03", "0"], ["dist", "0"], ["kd", "0, 1"]]
    assert cells[0][3:] == ["90.00", "+40.00", "-", "60"]
    assert cells[3][3:5] == ["60.00 ± 0.00", "+10.00"] and cells[3][5].startswith("25 (")
