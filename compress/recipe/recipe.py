"""`Recipe`: all sections as one, and what must hold between them."""

from __future__ import annotations

from pydantic import Field, model_validator

from compress.recipe.gaps import why_no_gaps
from compress.recipe.section import ByModality, Section
from compress.recipe.sections import Benchmark, Budget, Bundle, Data, Distill, Engine, Export, Fusion, Quantize, Student
from compress.recipe.teacher import Teacher


class Recipe(Section):
    """One run of the chain, from data to bundle."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", description="Name of the run folder.")
    description: str = Field("", description="One line for the report and the model card.")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of training: fresh weights, order of batches, dropout.")
    plugins: list[str] = Field(
        [], description="Python files, relative to the recipe, that add to the tables; their content is part of the fingerprints."
    )
    data: Data = Field(description="The rows.")
    teacher: Teacher = Field(description="The big model.")
    teachers: list[Teacher] = Field(
        [],
        description="Several in place of `teacher`, whose answers are combined as distill.combine says; a student starts from the first. Each answers once "
        "for all runs of a store.",
    )
    student: Student = Field(description="The small model.")
    distill: Distill = Field(Distill(), description="How the student learns.")
    quantize: Quantize | None = Field(None, description="int8; null: the student stays in float32.")
    export: Export = Field(Export(), description="ONNX files.")
    engine: Engine | None = Field(None, description="TensorRT engine; null: none.")
    benchmark: Benchmark = Field(Benchmark(), description="Measurements.")
    budget: Budget = Field(Budget(), description="Limits that decide the exit code.")
    bundle: Bundle = Field(Bundle(), description="What ships beside models and runner.")

    @model_validator(mode="after")
    def _modalities_agree(self) -> Recipe:
        there = set(self.data.inputs.modalities)
        if not there:
            raise ValueError("data.inputs names no modality: there is nothing to learn from")
        asked: dict[str, ByModality | None] = {"student.encoders": self.student.encoders, "distill.augment": self.distill.augment}
        for where, teacher in self.places.items():
            asked |= {f"{where}.{key}": getattr(teacher, key) for key in ("encoders", "feeds", "inputs")}
        for place, given in asked.items():
            for name in given.modalities if given else ():
                if name not in there:
                    raise ValueError(f"{place}.{name} is set, but data.inputs.{name} is not: the data has {' and '.join(self.modalities)}")
            for name in self.modalities:
                if place.endswith(("encoders", "feeds")) and given and name not in given.modalities:
                    raise ValueError(f"data.inputs.{name} is set, but {place}.{name} is not")
        return self

    @model_validator(mode="after")
    def _there_is_something_to_fuse(self) -> Recipe:
        if self.student.fusion != Fusion() and len(self.modalities) == 1:
            raise ValueError(f"student.fusion is set, but {self.modalities[0]} is the only modality of the data, so nothing is joined")
        return self

    @model_validator(mode="after")
    def _missing_inputs_can_be_read(self) -> Recipe:
        if why := why_no_gaps(self):
            raise ValueError(why)
        return self

    @model_validator(mode="after")
    def _views_and_mixtures_make_sense(self) -> Recipe:
        (first, *others), augment = self.modalities, self.distill.augment
        words = augment.get(first) or Section()
        if augment.pairings and not others:
            raise ValueError(f"distill.augment.pairings is set, but {first} is the only modality of the data, so nothing is paired")
        if augment.views > 1 and not any(words.model_dump().values()):
            raise ValueError(
                f"distill.augment.views is {augment.views}, but distill.augment.{first} varies nothing, so all views would be equal"
            )
        for place in (f"distill.augment.{first}.{word}" for word in ("mixup", "cutmix") if getattr(words, word, 0)):
            if others:
                raise ValueError(
                    f"{place} mixes two inputs and their labels, but what was mixed has no {others[0]} of its own; leave it out"
                )
            if self.distill.teacher == "stored":
                raise ValueError(f"{place}: stored answers are to single inputs, not to mixed ones; set distill.teacher: live")
        return self

    @model_validator(mode="after")
    def _rounds_have_their_answers(self) -> Recipe:
        if self.distill.rounds > 1 and self.distill.teacher != "stored":
            raise ValueError("distill.rounds: a round learns from the stored answers of the one before; set distill.teacher: stored")
        return self

    @model_validator(mode="after")
    def _coverage_has_its_file(self) -> Recipe:
        if self.quantize and self.quantize.min_int8_coverage:
            if "onnxruntime_x86" not in self.export.targets:
                raise ValueError("quantize.min_int8_coverage is measured on x86; add onnxruntime_x86 to export.targets")
            if self.quantize.method not in ("int8_qat", "int8_ptq"):
                raise ValueError(f"quantize.min_int8_coverage is asked of calibrated files, and method {self.quantize.method} makes none")
        return self

    @model_validator(mode="after")
    def _runtimes_have_their_files(self) -> Recipe:
        if "litert" in self.benchmark.runtimes and "litert" not in self.export.mobile:
            raise ValueError("benchmark.runtimes: litert needs its file; add export.mobile: [litert]")
        return self

    @model_validator(mode="after")
    def _slices_are_there(self) -> Recipe:
        if self.budget.min_slice_percent is not None and not self.data.options.get("slices"):
            raise ValueError("budget.min_slice_percent is set, but data.options.slices names no column of the data")
        return self

    @property
    def places(self) -> dict[str, Teacher]:
        """Its teachers, each by its place in the recipe."""
        return {f"teachers[{index}]": one for index, one in enumerate(self.teachers)} or {"teacher": self.teacher}

    def taught_by(self, number: int) -> Recipe:
        """The recipe with one of its several teachers alone, counted from 1."""
        return self.model_copy(update={"teacher": self.teachers[number - 1], "teachers": []})

    @property
    def modalities(self) -> tuple[str, ...]:
        """The inputs, in the order of the ONNX graph; the first one groups the rows of a batch."""
        return self.data.inputs.modalities
