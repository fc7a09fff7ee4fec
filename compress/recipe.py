"""Every word a recipe may say. The grammar is closed: an unknown key is an error; `load_recipe` is in grammar.py.

Each field's description is its documentation, with its unit; `compress schema` prints them as a JSON Schema.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Modality = Literal["image", "text"]


class Section(BaseModel):
    """A part of the recipe: no unknown keys, frozen, defaults checked like given values."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class Data(Section):
    """Where rows come from, and what is made of them before any model sees them."""

    source: str = Field(description="Name in DATASETS: easy_vqa, manifest or hub.")
    options: dict[str, Any] = Field({}, description="Options of that data set; `compress list datasets` shows them.")
    image_size: int | None = Field(None, ge=8, le=1024, description="Pixels a side of the student's images; null: no images.")
    text_length: int | None = Field(None, ge=4, le=512, description="Tokens a text is cut or padded to; null: no texts.")
    seed: int = Field(
        0,
        ge=0,
        lt=2**31,
        description="Seed of the splits, of the labels that are hidden, and of the views; the recipe's own seed is that of training.",
    )
    validation_fraction: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Share of the training images (texts where there are none) held out, when the source has no validation split.",
    )
    labelled_fraction: float = Field(
        1.0, gt=0, le=1, description="Share of the training images that keep their labels; the rest trains on the teacher alone."
    )
    train_limit: int | None = Field(
        None, ge=1, description="At most this many training inputs (images, or texts where there are none); null: all."
    )
    test_limit: int | None = Field(None, ge=1, description="At most this many inputs of the validation and of the test split; null: all.")
    allow_unlabelled: bool = Field(
        False, description="Take empty labels in the training split as unlabelled rows; otherwise they are an error."
    )
    paraphrases: str | None = Field(
        None, description="CSV with columns text, paraphrase: questions of the data in other words, scored apart; relative to the recipe."
    )
    on_bad_row: Literal["error", "skip"] = Field(
        "error", description="What an unusable row does: stop before training, or be counted, reported and left out."
    )


class Augment(Section):
    """Which variants of an image are trained on (each is one view, the teacher's answer is stored once a view), and texts in other words."""

    views: int = Field(1, ge=1, le=64, description="Variants of each image; view 0 is the image itself.")
    flip: bool = Field(
        False, description="Views may be mirrored left to right; only where labels stay right, for all views are trained on."
    )
    shift: int = Field(0, ge=0, le=64, description="Views may be moved by up to this many pixels each way (edges repeated).")
    wordings: int = Field(
        0,
        ge=0,
        le=1000,
        description="Other wordings of each text, made with words that are near in the teacher's vocabulary; the teacher alone answers them. "
        "0: a student learns no words but the data's own.",
    )
    reworded: Fraction = Field(0.3, description="Rows that are also asked in other words, as a share of all training rows.")

    @model_validator(mode="after")
    def _views_have_something_to_vary(self) -> Augment:
        if self.views > 1 and not self.flip and not self.shift:
            raise ValueError(f"views is {self.views}, but neither flip nor shift is set, so all views would be equal")
        if self.views > 2 and self.flip and not self.shift:
            raise ValueError(f"views is {self.views}, but flips alone give only 2 different views")
        return self


class Train(Section):
    """One training run: the same words for the teacher's head, the distillation and the quantization-aware part."""

    epochs: float = Field(30, gt=0, le=10_000, description="Passes over the training inputs.")
    max_steps: int | None = Field(None, ge=1, description="Optimizer steps at most; null: as epochs says.")
    batch_size: int = Field(
        128,
        ge=1,
        le=65_536,
        description="Distinct inputs of the grouping modality (images if there are any) a step; all their rows come along.",
    )
    learning_rate: float = Field(3e-3, gt=0, le=10, description="Peak of the cosine schedule, AdamW.")
    warmup_fraction: Fraction = Field(0.1, description="Share of the steps in which the rate climbs linearly from 0.")
    weight_decay: float = Field(0.01, ge=0, le=1, description="AdamW's decoupled decay; biases and normalisation are spared.")
    gradient_clip: float = Field(1.0, gt=0, description="Largest global gradient norm.")
    validate_every: float = Field(1, gt=0, description="Epochs between two validations.")
    patience: int | None = Field(None, ge=1, description="Validations without a gain before training stops early; null: never.")
    checkpoint_seconds: float = Field(
        30, ge=0, description="Seconds between two checkpoints that a killed run goes on from; 0: every step."
    )
    trackers: list[Literal["tensorboard", "wandb"]] = Field(["tensorboard"], description="Where accelerate logs scalars.")


class PretrainedEncoder(Section):
    """One frozen pretrained encoder of a `fit` teacher."""

    model: str = Field(description="Name in IMAGE_ENCODERS or TEXT_ENCODERS: `compress list image_encoders`.")
    options: dict[str, Any] = Field({}, description="Options of that encoder.")


class Teacher(Section):
    """The big model. Exactly the keys of its source may be set."""

    source: Literal["fit", "folder", "hub", "weights"] = Field(
        description="fit: pretrained encoders and a head fitted here; folder: save_pretrained output; hub: a transformers id; weights: a model of MODELS with a weights file."
    )
    image: PretrainedEncoder | None = Field(None, description="fit: the image encoder.")
    text: PretrainedEncoder | None = Field(None, description="fit: the text encoder.")
    head_width: int = Field(512, ge=8, description="fit: width of the fusion head, channels.")
    train: Train = Field(Train(epochs=10, batch_size=64, learning_rate=2e-3), description="fit: how the head is fitted.")
    path: str | None = Field(None, description="folder, weights: where, relative to the recipe.")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="weights: hash of the file, checked before it is read.")
    id: str | None = Field(None, description="hub: the model's id.")
    revision: str | None = Field(None, pattern="^[0-9a-f]{40}$", description="hub: the commit, 40 hex digits.")
    trust_remote_code: bool = Field(False, description="hub: run the model's own code; needs a pinned revision.")
    model: str | None = Field(None, description="weights: name in MODELS.")
    options: dict[str, Any] = Field({}, description="weights: the model's options.")
    fine_tune: Train | None = Field(
        None,
        description="weights: how all of the model is trained further on the labelled rows, seeded by data.seed; null: it is taken as it is.",
    )
    image_size: int | None = Field(None, ge=8, le=1024, description="Pixels a side the teacher sees; null: as data.image_size.")

    @model_validator(mode="after")
    def _keys_fit_the_source(self) -> Teacher:
        needed = {"fit": [], "folder": ["path"], "hub": ["id", "revision"], "weights": ["path", "sha256", "model"]}
        for key in needed[self.source]:
            if getattr(self, key) is None:
                raise ValueError(f"source {self.source} needs the key {key!r}")
        every = {"image", "text", "path", "id", "revision", "sha256", "model", "fine_tune"}
        allowed = {"fit": {"image", "text"}, "weights": {*needed["weights"], "fine_tune"}}.get(self.source, set(needed[self.source]))
        for key in sorted(every - allowed):
            if getattr(self, key) is not None:
                raise ValueError(f"source {self.source} does not take the key {key!r}")
        if self.source == "fit" and self.image is None and self.text is None:
            raise ValueError("source fit needs an image or a text encoder")
        return self


class ImageStudent(Section):
    """The student's MobileNet-style image encoder."""

    model: str = Field("mobilenet_v4", description="Name in IMAGE_ENCODERS: `compress list image_encoders`.")
    options: dict[str, Any] = Field({}, description="Options of that encoder, such as width (multiplier) or depth.")


class TextStudent(Section):
    """The student's DistilBERT-style text encoder."""

    layers: int = Field(2, ge=1, le=24, description="Transformer layers.")
    width: int = Field(64, ge=8, description="Channels of the residual stream.")
    heads: int = Field(2, ge=1, description="Attention heads; divides width.")
    feedforward: int = Field(256, ge=8, description="Channels inside the feed-forward part.")
    initialise: Literal["teacher", "random"] = Field(
        "teacher", description="teacher: layers, channels, heads and neurons picked from the teacher's text encoder."
    )
    vocab: Literal["task", "full"] = Field(
        "task", description="task: keep only the tokens of the training text, the special tokens and the single characters."
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> TextStudent:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class Student(Section):
    """The small model: one encoder a modality, and a head."""

    image: ImageStudent | None = Field(None, description="Image encoder; set where data.image_size is.")
    text: TextStudent | None = Field(None, description="Text encoder; set where data.text_length is.")
    head_width: int = Field(96, ge=8, description="Channels of the fusion head.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the head's last layer.")


class Loss(Section):
    """One term of the sum that the student minimises."""

    name: str = Field(description="Name in LOSSES: `compress list losses`.")
    weight: float = Field(1.0, ge=0, description="Factor of the term.")
    options: dict[str, Any] = Field({}, description="Options of the loss, such as temperature.")


class Distill(Section):
    """Training the student on labels and on the teacher."""

    losses: list[Loss] = Field(
        [Loss(name="cross_entropy"), Loss(name="kd", options={"temperature": 2.0})],
        min_length=1,
        description="Terms of the loss; those that read labels skip unlabelled rows.",
    )
    train: Train = Field(Train(), description="Schedule.")
    augment: Augment = Field(Augment(), description="Views of the images.")
    compare_alone: bool = Field(
        False,
        description="Also train the student without the teacher, on labels alone with the same schedule, and say which is better on validation.",
    )


class Quantize(Section):
    """Making the student int8, with the teacher in the loop."""

    method: Literal["int8_qat", "int8_ptq", "int8_dynamic", "none"] = Field("int8_qat", description="Name in QUANTIZERS.")
    teacher: Literal["teacher", "student", "both"] = Field(
        "teacher", description="Whose answers the int8 student learns from: the teacher's, the fp32 student's, or the mean of their logits."
    )
    observer: Literal["minmax", "moving_average", "histogram"] = Field("moving_average", description="How ranges of activations are found.")
    learned_step_size: bool = Field(False, description="Train the scales of the activations too (LSQ).")
    weight_bits: int = Field(8, ge=2, le=8, description="Bits of the weights; stored as int8.")
    activation_bits: int = Field(8, ge=4, le=8, description="Bits of the activations.")
    per_channel: bool = Field(True, description="One weight scale an output channel instead of one a tensor.")
    calibration_batches: int = Field(16, ge=1, description="Training batches that set the first ranges.")
    freeze_after: Fraction = Field(0.6, description="Share of the steps after which ranges and batch statistics are fixed.")
    keep_float: list[str] = Field([], description="Modules (dotted prefixes) left in float.")
    max_drop_points: float | None = Field(
        None, ge=0, description="Validation points the int8 student may lose before its worst layers go back to float; null: do not search."
    )
    min_int8_coverage: Fraction = Field(
        0.0, description="Share of the multiply-adds that must run in int8 after the runtime's optimisation; less ends the run."
    )
    train: Train = Field(Train(epochs=4, learning_rate=3e-4), description="Schedule of the quantization-aware part.")


class Parity(Section):
    """How far two forms of one model may differ on real samples."""

    samples: int = Field(256, ge=1, description="Test rows compared.")
    max_difference: float = Field(
        2e-3, gt=0, description="Largest difference of a float32 logit, as a share of the logits' largest magnitude."
    )
    max_relative: float = Field(
        0.1, gt=0, description="Largest ||difference|| / ||logits|| over the rows where rounding differs by design (fp16, int8)."
    )
    min_agreement: Fraction = Field(0.995, description="Share of the rows with the same arg-max.")


class Export(Section):
    """ONNX files."""

    opset: int = Field(20, ge=18, le=20, description="ONNX opset; 18 to 20 is what JetPack's TensorRT 10 takes.")
    targets: list[Literal["onnxruntime_x86", "onnxruntime_arm", "tensorrt"]] = Field(
        ["onnxruntime_x86", "tensorrt"], description="Runtimes that get a quantized file of their own."
    )
    mobile: list[Literal["ort_format", "litert"]] = Field(
        [],
        description="Files for phones and boards, for the bundle's folder `mobile`. ort_format: .ort for ONNX Runtime's mobile builds on ARM, with "
        "the operators that such a build needs; litert: the float32 student as .tflite, one row a call (extra: litert).",
    )
    parity: Parity = Field(Parity(), description="The gate.")


class Engine(Section):
    """TensorRT engines."""

    flavour: Literal["tensorrt_rtx", "tensorrt"] = Field(
        "tensorrt_rtx", description="tensorrt_rtx builds without a GPU; tensorrt builds on the target GPU."
    )
    required: bool = Field(
        False, description="End the run when the engine cannot be built here; otherwise the report says what was skipped and why."
    )
    workspace_mib: int = Field(1024, ge=16, description="Builder's scratch memory, MiB.")
    opt_batch: int = Field(8, ge=1, le=32, description="Batch the kernels are tuned for.")


class Benchmark(Section):
    """What is measured, and how long."""

    batches: list[int] = Field([1, 8], min_length=1, description="Batch sizes timed.")
    threads: int = Field(1, ge=1, description="Threads of ONNX Runtime.")
    rounds: int = Field(200, ge=10, description="Timed calls of each model and batch, interleaved.")
    warmup: int = Field(20, ge=1, description="Calls before the clock starts.")
    test_limit: int | None = Field(None, ge=1, description="Test rows scored at most; null: all.")
    runtimes: list[Literal["ort_format", "openvino", "litert"]] = Field(
        [],
        description="Other runtimes that answer and are timed beside ONNX Runtime; what ships is chosen without them. litert reads the file of "
        "export.mobile: [litert].",
    )


class Budget(Section):
    """A contract: a run that misses a line ends with exit code 3, after the report."""

    max_drop_points: float | None = Field(None, ge=0, description="Test accuracy that the shipped student may lose to the teacher, points.")
    min_latency_ratio: float | None = Field(None, gt=0, description="Teacher's median latency over the shipped student's, batch 1.")
    max_latency_ms: float | None = Field(None, gt=0, description="Shipped student's p95 at batch 1 on the benchmark machine, ms.")
    max_size_mb: float | None = Field(None, gt=0, description="Shipped ONNX file, MB (10^6 bytes).")


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
    student: Student = Field(description="The small model.")
    distill: Distill = Field(Distill(), description="How the student learns.")
    quantize: Quantize | None = Field(None, description="int8; null: the student stays in float32.")
    export: Export = Field(Export(), description="ONNX files.")
    engine: Engine | None = Field(None, description="TensorRT engine; null: none.")
    benchmark: Benchmark = Field(Benchmark(), description="Measurements.")
    budget: Budget = Field(Budget(), description="Limits that decide the exit code.")

    @model_validator(mode="after")
    def _student_reads_what_the_data_has(self) -> Recipe:
        if not self.data.image_size and not self.data.text_length:
            raise ValueError("data has neither image_size nor text_length: there is nothing to learn from")
        for name, size in (("image", self.data.image_size), ("text", self.data.text_length)):
            if (getattr(self.student, name) is None) != (size is None):
                raise ValueError(f"student.{name} and data.{'image_size' if name == 'image' else 'text_length'} must be set together")
        return self

    @model_validator(mode="after")
    def _wordings_need_texts(self) -> Recipe:
        if self.distill.augment.wordings and not self.data.text_length:
            raise ValueError("distill.augment.wordings is set, but data.text_length is not: there are no texts")
        return self

    @model_validator(mode="after")
    def _runtimes_have_their_files(self) -> Recipe:
        if "litert" in self.benchmark.runtimes and "litert" not in self.export.mobile:
            raise ValueError("benchmark.runtimes: litert needs its file; add export.mobile: [litert]")
        return self

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The inputs, in the order of the ONNX graph; the first one groups the rows of a batch."""
        sizes: dict[Modality, int | None] = {"image": self.data.image_size, "text": self.data.text_length}
        return tuple(name for name, size in sizes.items() if size)
