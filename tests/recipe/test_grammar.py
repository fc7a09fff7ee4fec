"""Recipe files: every kind of fault, its place and its way out."""

import json
import textwrap
from pathlib import Path

import pytest

from compress.errors import RecipeError
from compress.recipe.grammar import load_budget, load_recipe
from compress.tables import LOSSES, MODALITIES

GOOD = """\
name: small
data:
  source: easy_vqa
  inputs: {image: {size: 64}}
teacher:
  source: fit
  encoders: {image: {model: efficientnet_lite2}}
student:
  encoders: {image: {model: mobilenet_v4, options: {width: 0.5}}}
distill:
  losses:
    - name: cross_entropy
    - {name: kd, options: {temperature: 4.0}}
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a recipe into the working folder, so that messages show a short path."""
    monkeypatch.chdir(tmp_path)

    def write_text(text: str) -> Path:
        Path("a.yaml").write_text(text)
        return Path("a.yaml")

    return write_text


def problems(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    return caught.value.problems


def test_a_good_recipe_loads_with_its_origin(write):
    loaded = load_recipe(write(GOOD))
    assert (loaded.recipe.name, loaded.path, loaded.base, loaded.text) == ("small", Path("a.yaml"), Path("."), GOOD)
    assert loaded.recipe.distill.losses[1].options == {"temperature": 4.0}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("  losses:", "  loses:", "a.yaml:11 distill.loses: unknown key 'loses' (did you mean 'losses'?)"),
        ("{size: 64}}", "{size: 64}}\nzzz: 1", "a.yaml:5 zzz: unknown key 'zzz'; known here: name, description,"),
        ("distill:", "distill:\n  epochs: 3", "a.yaml:11 distill.epochs: unknown key 'epochs' (did you mean 'train.epochs'?)"),
        ("size: 64", "size: big", "a.yaml:4 data.inputs.image.size: must be a whole number, found the text 'big'"),
        ("size: 64", 'size: "64"', "a.yaml:4 data.inputs.image.size: must be a whole number, found the text '64'"),
        ("size: 64", "size: true", "a.yaml:4 data.inputs.image.size: must be a whole number, found true"),
        ("size: 64", "size: 6.5", "a.yaml:4 data.inputs.image.size: must be a whole number, found 6.5"),
        ("{size: 64}}", "{size: 64}}\n  allow_unlabelled: no", "data.allow_unlabelled: must be true or false, found the text 'no'"),
        ("name: small", "name: [small]", "a.yaml:1 name: must be a text, found a list"),
        (
            "{model: efficientnet_lite2}",
            "efficientnet_lite2",
            "a.yaml:7 teacher.encoders.image: must be a section of `key: value` lines",
        ),
        ("size: 64", "size: 4", "a.yaml:4 data.inputs.image.size: must be at least 8, found 4"),
        ("{size: 64}}", "{size: 64}}\n  labelled_fraction: 0", "data.labelled_fraction: must be more than 0, found 0"),
        ("distill:", "distill:\n  train: {learning_rate: .nan}", "distill.train.learning_rate: must be a finite number, found nan"),
        (
            "source: fit",
            "source: fitt",
            "a.yaml:6 teacher.source: must be one of fit, folder, hub, weights, run, zero_shot, llm, vlm, onnx, answers; found the text 'fitt' (did you",
        ),
        ("source: fit", "source: hub", "a.yaml:5 teacher: source hub needs the key 'id'"),
        ("  source: easy_vqa\n", "", "a.yaml:2 data.source: this key is required: Name in DATASETS"),
        ("name: small", "name: ../small", "a.yaml:1 name: must match ^"),
        ("name: kd", "name: kdd", "a.yaml:13 distill.losses[1].name: unknown loss 'kdd' (did you mean 'kd'?). See 'compress list losses'"),
        ("easy_vqa", "easy_vaq", "a.yaml:3 data.source: unknown data set 'easy_vaq' (did you mean 'easy_vqa'?)"),
        (
            "mobilenet_v4",
            "minilm_l6",
            "a.yaml:9 student.encoders.image.model: unknown image encoder 'minilm_l6'. See 'compress list image_encoders'",
        ),
        (
            "mobilenet_v4",
            "mobilnet_v4",
            "a.yaml:9 student.encoders.image.model: unknown image encoder 'mobilnet_v4' (did you mean 'mobilenet_v4'?)",
        ),
        (
            "temperature: 4.0",
            "temprature: 4.0",
            "a.yaml:13 distill.losses[1].options.temprature: unknown option (did you mean 'temperature'?)",
        ),
        ("temperature: 4.0", "temperature: hot", "a.yaml:13 distill.losses[1].options.temperature: 'hot' is str, but float is needed"),
        ("{width: 0.5}", "{base: x}", "a.yaml:9 student.encoders.image.options.base: unknown option"),
    ],
)
def test_a_fault_is_named_with_line_place_and_way_out(write, old, new, expected):
    assert GOOD.count(old) == 1
    found = problems(write(GOOD.replace(old, new)))
    assert len(found) == 1, found
    assert expected in found[0]


def test_all_faults_are_reported_at_once_in_the_order_of_the_file(write):
    text = (
        GOOD.replace("name: small", "nam: small").replace("64", "x").replace("name: kd", "name: kdd").replace("source: fit", "source: fitt")
    )
    places = [problem.split(" ")[0] for problem in problems(write(text))]
    assert places == ["a.yaml:1", "a.yaml:1", "a.yaml:4", "a.yaml:6", "a.yaml:13"]  # name is missing, and nam is unknown


def test_a_key_given_twice_is_refused(write):
    assert problems(write(GOOD + "name: other\n")) == ["a.yaml:14 name: this key is given twice, first in line 1; remove one"]


def test_a_python_tag_is_refused_and_not_run(write, tmp_path):
    text = GOOD.replace("name: small", f"name: !!python/object/apply:os.system ['touch {tmp_path}/ran']")
    found = problems(write(text))
    assert len(found) == 1
    assert found[0].startswith("a.yaml:1 name: the YAML tag '!!python/object/apply:os.system' is not allowed")
    assert not (tmp_path / "ran").exists()


def test_text_that_is_not_yaml_is_named_with_its_line(write):
    assert problems(write("name: small\ndata: {source: [}\n"))[0].startswith("a.yaml:2: not YAML:")
    assert "indented with spaces" in problems(write("name: small\ndata:\n\tsource: easy_vqa\n"))[0]


@pytest.mark.parametrize("text", ["", "# nothing\n", "- name: small\n", "small\n"])
def test_a_file_without_sections_is_refused(write, text):
    assert "`compress init FILE` writes one" in problems(write(text))[0]


def test_a_recipe_that_is_not_there_is_named_with_the_nearest(write):
    write(GOOD)
    assert "b.yaml: no such file (did you mean 'a.yaml'?)" in problems(Path("b.yaml"))[0]


def test_a_recipe_that_cannot_be_read_is_an_error(tmp_path):
    assert "cannot be read" in problems(tmp_path)[0]
    (tmp_path / "a.yaml").write_bytes(b"name: \xff\xfe")
    assert "not a text in UTF-8 (byte 6)" in problems(tmp_path / "a.yaml")[0]


def test_files_that_a_recipe_names_must_be_there(write, tmp_path):
    source = "source: manifest\n  options: {train: train.csv, test: test.csv}"
    text = GOOD.replace("source: easy_vqa", source) + "plugins: [mine.py]\n"
    (tmp_path / "test.csv").touch()
    assert [problem.split(" is not there")[0] for problem in problems(write(text))] == [
        "a.yaml:4 data.options.train: train.csv",
        "a.yaml:15 plugins[0]: mine.py",
    ]
    text = text.replace("train: train.csv", "train: [test.csv, kept/rows.jsonl]")
    assert [problem.split(" is not there")[0] for problem in problems(write(text))] == [
        "a.yaml:4 data.options.train[1]: kept/rows.jsonl",
        "a.yaml:15 plugins[0]: mine.py",
    ]


def test_a_teacher_folder_must_be_there(write):
    text = GOOD.replace("source: fit\n  encoders: {image: {model: efficientnet_lite2}}", "source: folder\n  path: vilt")
    assert problems(write(text)) == ["a.yaml:7 teacher.path: vilt is not there; paths start from the recipe's folder"]


def test_a_missing_required_option_is_named(write):
    found = problems(write(GOOD.replace("source: easy_vqa", "source: manifest\n  options: {train: a.yaml}")))
    assert found == ["a.yaml:4 data.options.test: missing; manifest needs it"]


def test_a_section_given_in_part_keeps_the_rest_of_its_default(write):
    text = GOOD.replace("source: fit\n", "source: fit\n  train: {epochs: 5}\n") + "quantize: {train: {epochs: 2}}\n"
    recipe = load_recipe(write(text)).recipe
    assert (recipe.teacher.train.epochs, recipe.teacher.train.batch_size) == (5, 64)
    assert recipe.quantize.train.learning_rate == 3e-4


def test_numbers_with_an_exponent_are_numbers(write):
    assert load_recipe(write(GOOD + "budget: {max_size_mb: 1e-1}\n")).recipe.budget.max_size_mb == 0.1


def test_a_budget_may_have_a_file_of_its_own_with_all_its_faults_told(tmp_path):
    file = tmp_path / "ci.yaml"
    file.write_text("max_size_mb: 4\nmax_cold_start_ms: 250\n")
    assert load_budget(file).model_dump(exclude_none=True) == {"max_size_mb": 4, "max_cold_start_ms": 250}
    file.write_text("max_siz_mb: 4\nmin_latency_ratio: fast\n")
    with pytest.raises(RecipeError) as caught:
        load_budget(file)
    assert len(caught.value.problems) == 2
    assert "ci.yaml:1 max_siz_mb: unknown key 'max_siz_mb' (did you mean 'max_size_mb'?)" in caught.value.problems[0]
    assert "ci.yaml:2 min_latency_ratio: must be a number" in caught.value.problems[1]
    file.write_text("- 1\n")
    with pytest.raises(RecipeError, match="a budget is lines such as"):
        load_budget(file)


def test_the_names_and_options_of_a_plugin_count(write, tmp_path):
    plugin = """\
        raise SystemExit("a check must not run this")
        def my_loss(student, teacher, labels, *, sharpness: int = 2):
            "Mine."
        LOSSES = {"my_loss": my_loss}
        """
    (tmp_path / "mine.py").write_text(textwrap.dedent(plugin))
    text = GOOD.replace("name: cross_entropy", "{name: my_loss, options: {sharpness: 3}}") + "plugins: [mine.py]\n"
    loaded = load_recipe(write(text))
    assert loaded.plugins == [Path("mine.py")]
    assert "'x' is str, but int is needed" in problems(write(text.replace("sharpness: 3", "sharpness: x")))[0]


def test_a_plugin_of_an_override_counts(write, tmp_path):
    (tmp_path / "mine.py").write_text("def my_loss(student, teacher, labels):\n    ...\nLOSSES = {'my_loss': my_loss}\n")
    loaded = load_recipe(write(GOOD), ["plugins=[mine.py]", "distill.losses=[{name: my_loss}]"])
    assert loaded.plugins == [Path("mine.py")]
    assert problems(write(GOOD), "distill.losses=[{name: my_loss}]")[0].endswith("See 'compress list losses'")


def test_a_plugin_that_another_recipe_has_loaded_does_not_count(write, monkeypatch):
    before = load_recipe(write(GOOD)).recipe.model_dump()
    monkeypatch.setitem(MODALITIES, "motion", "/elsewhere/motion.py:Motion")
    monkeypatch.setitem(LOSSES, "my_loss", "/elsewhere/mine.py:my_loss")
    assert load_recipe(write(GOOD)).recipe.model_dump() == before
    assert problems(write(GOOD.replace("name: cross_entropy", "name: my_loss")))[0].endswith("See 'compress list losses'")


def test_a_broken_plugin_is_named_at_its_line(write, tmp_path):
    (tmp_path / "mine.py").write_text("def (:")
    assert problems(write(GOOD + "plugins: [mine.py]\n"))[0].startswith("a.yaml:14 plugins[0]: mine.py: this plugin is not Python:")


def test_an_override_is_applied_before_validation(write):
    path = write(GOOD.replace("64", "x"))
    recipe = load_recipe(path, ["data.inputs.image.size=32", "distill.losses[1].options.temperature=2", "distill.train.epochs=1.5"]).recipe
    assert (recipe.data.inputs.get("image").size, recipe.distill.losses[1].options, recipe.distill.train.epochs) == (
        32,
        {"temperature": 2},
        1.5,
    )


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("distill.train.epoch=3", "-o distill.train.epoch=3: unknown key 'epoch' (did you mean 'epochs'?)"),
        ("distil.train.epochs=3", "-o distil.train.epochs=3 distil: unknown key 'distil' (did you mean 'distill'?)"),
        ("data.inputs.image.size=x", "-o data.inputs.image.size=x: must be a whole number, found the text 'x'"),
        ("distill.losses[1].name=kdd", "-o distill.losses[1].name=kdd: unknown loss 'kdd' (did you mean 'kd'?)"),
        ("distill.losses[2].weight=1", "-o distill.losses[2].weight=1: distill.losses has 2 entries, the first is [0]; there is no [2]"),
        ("name.first=x", "-o name.first=x: name is no section, so it has no key 'first'"),
        ("data[0]=x", "-o data[0]=x: data is no list, so it has no entry [0]"),
        ("distill", "-o distill: an override is written place=value"),
        ("data.inputs.image.size=[", "-o data.inputs.image.size=[: not YAML"),
        (
            "distill.augment={text: {wordings: 4}}",
            "a.yaml:1: distill.augment.text is set, but data.inputs.text is not: the data has image",
        ),
        ("benchmark.runtimes=[litert]", "a.yaml:1: benchmark.runtimes: litert needs its file; add export.mobile: [litert]"),
        ("student.encoders.image=null", "a.yaml:1: data.inputs.image is set, but student.encoders.image is not"),
        ("data.inputs.image=null", "a.yaml:1: data.inputs names no modality: there is nothing to learn from"),
        ("distill.augment.views=2", "a.yaml:1: distill.augment.views is 2, but distill.augment.image varies nothing"),
        ("distill.augment.pairings=2", "a.yaml:1: distill.augment.pairings is set, but image is the only modality of the data"),
        ("distill.augment={image: {mixup: 0.2}}", "a.yaml:1: distill.augment.image.mixup: stored answers are to single inputs"),
        ("data.task=tags", "-o data.task=tags: unknown task 'tags'"),
        (
            "teacher={source: fit, encoders: {image: {model: x}}}",
            "-o teacher={source: fit, encoders: {image: {model: x}}} teacher.encoders.image.model: unknown image encoder 'x'",
        ),
        ("teacher.path=x", "-o teacher.path=x teacher: source fit does not take the key 'path'"),
    ],
)
def test_a_fault_of_an_override_names_the_override(write, override, expected):
    found = problems(write(GOOD), override)
    assert len(found) == 1, found
    assert found[0].startswith(expected)


def test_loading_changes_no_data_of_the_next_load(write):
    path = write(GOOD)
    load_recipe(path, ["distill.losses[1].options.temperature=9"])
    assert json.loads(load_recipe(path).recipe.model_dump_json())["distill"]["losses"][1]["options"] == {"temperature": 4.0}


BOTH = GOOD.replace("inputs: {image: {size: 64}}", "inputs: {image: {size: 64}, text: {length: 8}}")
BOTH = BOTH.replace("{image: {model: efficientnet_lite2}}", "{image: {model: efficientnet_lite2}, text: {model: minilm_l6}}")
BOTH = BOTH.replace("options: {width: 0.5}}}", "options: {width: 0.5}}, text: {}}\n  fusion: gated")


def test_a_fusion_is_a_name_or_a_name_with_options(write):
    assert load_recipe(write(BOTH)).recipe.student.fusion.model_dump() == {"name": "gated", "options": {}}
    fusion = load_recipe(write(BOTH), ["student.fusion={name: bilinear, options: {rank: 2}}"]).recipe.student.fusion
    assert (fusion.name, fusion.options) == ("bilinear", {"rank": 2})


@pytest.mark.parametrize(
    ("fusion", "expected"),
    [
        ("gatd", "a.yaml:10 student.fusion: unknown fusion 'gatd' (did you mean 'gated'?). See 'compress list fusions'"),
        (
            "{name: bilinr}",
            "a.yaml:10 student.fusion.name: unknown fusion 'bilinr' (did you mean 'bilinear'?). See 'compress list fusions'",
        ),
        (
            "{name: bilinear, options: {rnk: 2}}",
            "a.yaml:10 student.fusion.options.rnk: unknown option (did you mean 'rank'?); bilinear takes rank",
        ),
        ("{options: {rank: 2}}", "a.yaml:10 student.fusion.options.rank: unknown option; product takes no options"),
        ("3", "a.yaml:10 student.fusion: must be a section of `key: value` lines, found 3"),
    ],
)
def test_a_fault_of_a_fusion_is_told_with_its_place(write, fusion, expected):
    assert problems(write(BOTH.replace("fusion: gated", f"fusion: {fusion}"))) == [expected]


def test_an_encoder_that_is_left_out_on_purpose_is_told_with_the_reason(write):
    (problem,) = problems(write(BOTH), "student.encoders.text.model=lstm")
    assert problem.startswith("-o student.encoders.text.model=lstm: lstm is left out") and "docs/tried.md" in problem


def test_options_that_the_program_fills_are_no_options_of_a_fusion(write):
    (problem,) = problems(write(BOTH.replace("fusion: gated", "fusion: {name: bottleneck, options: {lengths: 3}}")))
    assert "student.fusion.options.lengths: unknown option" in problem and "bottleneck takes tokens, layers, heads" in problem


def test_a_fusion_of_one_modality_is_refused(write):
    assert problems(write(GOOD), "student.fusion=sum") == [
        "a.yaml:1: student.fusion is set, but image is the only modality of the data, so nothing is joined"
    ]


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        (GOOD, ["data.allow_missing=true"], "data.allow_missing is set, but image is the only modality: a row without it has nothing"),
        (
            BOTH,
            ["data.allow_missing=true", "teacher={source: folder, path: .}"],
            "a teacher of source folder cannot answer rows that lack an input; take source fit",
        ),
        (
            BOTH,
            ["distill.train.modality_dropout=0.2"],
            "distill.train.modality_dropout is set, but without data.allow_missing: true no model reads what is missing",
        ),
    ],
)
def test_a_recipe_for_missing_inputs_that_cannot_work_is_refused(write, text, overrides, expected):
    found = problems(write(text), *overrides)
    assert len(found) == 1 and found[0].endswith(expected)


def test_missing_inputs_are_taken_where_a_recipe_says_so(write):
    recipe = load_recipe(write(BOTH), ["data.allow_missing=true", "distill.train.modality_dropout=0.2"]).recipe
    assert recipe.data.allow_missing and recipe.distill.train.modality_dropout == 0.2
