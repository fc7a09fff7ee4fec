"""The section `teacher`, and SOURCES: where a teacher comes from, which keys say so, and what can be had of such a teacher."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from compress.recipe.section import ByModality, Section
from compress.recipe.sections import FineTune, Train


class Source(NamedTuple):
    """One kind of teacher."""

    needs: tuple[str, ...]  # keys that must be set
    takes: tuple[str, ...] = ()  # keys that may be set
    asked: bool = True  # it answers what it is asked; otherwise there are only the answers that it has given, and no file to measure
    inside: bool = True  # its hidden states are there, and weights that a student may start from


SOURCES = {
    "fit": Source(("encoders",), ("fine_tune",)),
    "folder": Source(("path",), ("fine_tune",)),
    "hub": Source(("id", "revision"), ("fine_tune",)),
    "weights": Source(("path", "sha256", "model"), ("fine_tune",)),
    "run": Source(("path",), ("arm",)),
    "zero_shot": Source(("templates",), ("path", "id", "revision", "labels")),
    "llm": Source(("prompt",), ("path", "id", "revision", "labels"), asked=False, inside=False),
    "vlm": Source(("prompt",), ("path", "id", "revision", "labels"), asked=False, inside=False),
    "onnx": Source(("path", "form", "classes", "feeds"), ("sha256", "output", "tokenizer"), inside=False),
    "answers": Source(("path", "form"), ("columns", "labels", "on_bad_answer"), asked=False, inside=False),
}
GOVERNED = (  # keys that some sources alone take
    *("encoders", "path", "sha256", "id", "revision", "model", "fine_tune"),
    *("form", "columns", "labels", "on_bad_answer", "classes", "feeds", "output", "tokenizer", "templates"),
    *("arm", "prompt"),
)


class Teacher(Section):
    """The big model. Exactly the keys of its source may be set."""

    source: Literal["fit", "folder", "hub", "weights", "run", "zero_shot", "llm", "vlm", "onnx", "answers"] = Field(
        description="fit: pretrained encoders and a head fitted here; folder: save_pretrained output; hub: a transformers id; weights: a model of "
        "MODELS with a weights file; run: the student of an earlier run; zero_shot: a dual encoder (CLIP, SigLIP, CLAP) that compares an input with prompts; llm, vlm: a language model that says how likely each label is as an answer to a prompt, vlm with an image; onnx: a classifier that is an ONNX file; answers: a table of what a model or people answered, row by row."
    )
    encoders: ByModality | None = Field(None, description="fit: a frozen encoder for each modality.")
    inputs: ByModality | None = Field(
        None, description="Inputs that the teacher reads in another form than the student; null: as data.inputs."
    )
    head_width: int = Field(512, ge=8, description="fit: width of the fusion head, channels.")
    train: Train = Field(Train(epochs=10, batch_size=64, learning_rate=2e-3), description="fit: how the head is fitted.")
    smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="fit and fine_tune, one of K labels: share of each label that is spread over all of them, so that the head is not pushed to certainty.",
    )
    path: str | None = Field(
        None, description="folder, weights, run, zero_shot, llm, vlm, onnx, answers: where, relative to the recipe; of a run its folder."
    )
    arm: Literal["shipped", "distilled"] = Field(
        "shipped", description="run: the student that its run ships (in float32), or the distilled one also where the student alone ships."
    )
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="weights, onnx: hash of the file, checked before it is read.")
    id: str | None = Field(None, description="hub, zero_shot, llm, vlm: the model's id.")
    revision: str | None = Field(None, pattern="^[0-9a-f]{40}$", description="hub, zero_shot, llm, vlm: the commit, 40 hex digits.")
    trust_remote_code: bool = Field(False, description="hub: run the model's own code; needs a pinned revision.")
    model: str | None = Field(None, description="weights: name in MODELS.")
    options: dict[str, Any] = Field({}, description="weights: the model's options.")
    fine_tune: FineTune | None = Field(
        None,
        description="weights, folder, hub: how all of the model is trained further on the labelled rows, seeded by data.seed; fit: how the last blocks "
        "of the encoders are trained with the head, once that is fitted. null: weights are taken as they are.",
    )
    form: Literal["probabilities", "logits", "answers"] | None = Field(
        None,
        description="onnx, answers: what the teacher's numbers are; answers: one answer a row, as the data has labels (several rows of one id are votes).",
    )
    columns: dict[Literal["id", "answer"], str] = Field(
        {}, description="answers: the table's own names of the columns id (of the row) and answer (where form is answers)."
    )
    labels: dict[str, str] = Field(
        {},
        description="Label of the data -> its name elsewhere; left out: the same. answers: a column of the table or, where form is answers, a word; "
        "zero_shot: what stands for it in the prompts; llm, vlm: the answer whose likelihood is its own.",
    )
    on_bad_answer: Literal["error", "labels"] = Field(
        "error",
        description="answers: what happens where a training row has no usable answer. error: stop before training; labels: such rows are counted, told "
        "and trained on labels alone.",
    )

    classes: list[str] | str | None = Field(
        None,
        description="onnx: the names of the file's outputs, in their order, or a text file with one a line; every label must be there.",
    )
    templates: Annotated[list[Annotated[str, Field(pattern=r"^[^{}]*\{\}[^{}]*$")]], Field(min_length=1)] | None = Field(
        None,
        description="zero_shot: prompts with {} where a label stands, such as 'a photo of a {}.'; the vectors of several are averaged.",
    )
    prompt: str | None = Field(
        None,
        description="llm, vlm: the question before the answer, with {text} where the row's text stands; it goes through the model's chat template, if any.",
    )
    feeds: ByModality | None = Field(None, description="onnx: how each modality becomes the file's inputs.")
    output: str | None = Field(None, description="onnx: the file's output that is read; null: the only one.")
    tokenizer: str | None = Field(None, description="onnx: the tokenizer.json of a file that reads texts, relative to the recipe.")

    @model_validator(mode="after")
    def _keys_fit_the_source(self) -> Teacher:
        source = SOURCES[self.source]
        for key in source.needs:
            if not self._says(key):
                raise ValueError(f"source {self.source} needs the key {key!r}")
        for key in sorted({*GOVERNED} - {*source.needs, *source.takes}):
            if self._says(key):
                raise ValueError(f"source {self.source} does not take the key {key!r}")
        if self.source != "fit" and self.fine_tune and self.fine_tune.model_fields_set & {"blocks", "encoder_rate"}:
            raise ValueError(f"source {self.source} is trained on whole: leave out fine_tune.blocks and fine_tune.encoder_rate")
        if self.encoders is not None and not self.encoders.modalities:
            raise ValueError("source fit needs an encoder for each modality under encoders")
        if self.source in ("zero_shot", "llm", "vlm") and (self.path is None) == (self.id is None or self.revision is None):
            raise ValueError(f"source {self.source} needs one of path, and id with revision")
        if self.source == "onnx" and self.form == "answers":
            raise ValueError("a file gives probabilities or logits, so form is one of these")
        return self

    @property
    def asked(self) -> bool:
        """Whether there is a model that answers what it is asked, and not only what one has answered."""
        return SOURCES[self.source].asked

    @property
    def label(self) -> str:
        """What tables and logs call it: where it comes from."""
        encoders = self.encoders or ByModality()
        return self.id or self.path or " and ".join(encoders.get(m).model for m in encoders.modalities)

    def _says(self, key: str) -> bool:
        return getattr(self, key) != type(self).model_fields[key].default
