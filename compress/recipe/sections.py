"""The sections of a recipe, with every word they may say. The grammar is closed: an unknown key is an error; `load_recipe` is in grammar.py.

Each field's description is its documentation, with its unit; `compress schema` prints them as a JSON Schema.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from compress.recipe.needs import hidden_states, reads_teacher, without_teacher
from compress.recipe.parity import Parity
from compress.recipe.section import ByModality, Fraction, Named, Section
from compress.recipe.terms import Adversarial, Head, Loss, Robustness, Tap
from compress.tables import LOSSES


class Data(Section):
    """Where rows come from, and what is made of them before any model sees them."""

    source: str = Field(description="Name in DATASETS, such as manifest, hub or webdataset.")
    options: dict[str, Any] = Field({}, description="Options of that data set; `compress list datasets` shows them.")
    inputs: ByModality = Field(description="What a row is made of, by modality, and in which form the student reads it.")
    task: str = Field("single_label", description="What is asked of the rows: a name in TASKS; `compress list tasks` shows them.")
    task_options: dict[str, Any] = Field({}, description="Options of that task, such as the separator of several tags.")
    heads: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")], Head] = Field(
        {}, description="Of the task several: the heads of the one student and of the one teacher, by a name of your own."
    )
    imbalance: Literal["none", "batches", "logits"] = Field(
        "none",
        description="What every training does about rare labels. batches: each label (of several, the row's rarest) is drawn as often; logits: the "
        "loss on labels sees the logits plus the label's log odds. With either, balanced accuracy decides in place of accuracy.",
    )
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
        description="Share of the training images (texts where there are none) held out, in whole groups, when the source has no validation split.",
    )
    labelled_fraction: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the training images that keep their labels, in whole groups; the rest trains on the teacher alone.",
    )
    train_limit: int | None = Field(
        None, ge=1, description="At most this many training inputs (images, or texts where there are none); null: all."
    )
    test_limit: int | None = Field(None, ge=1, description="At most this many inputs of the validation and of the test split; null: all.")
    allow_unlabelled: bool = Field(
        False,
        description="Take empty labels in the training split, or no column of them at all, as unlabelled rows; otherwise they are an error.",
    )
    names: list[str] = Field(
        [],
        description="What an answer may be, in the order of the logits, where no split says it; else as the training split has it, or the others.",
    )
    judge: Literal["labels", "teacher"] = Field(
        "labels",
        description="What the rows of validation and test are scored by. teacher: its answers to them, where nobody has labelled any; every page "
        "then tells agreement with the teacher. Rows of all splits may then lack labels.",
    )
    paraphrases: str | None = Field(
        None, description="CSV with columns text, paraphrase: questions of the data in other words, scored apart; relative to the recipe."
    )
    allow_missing: bool = Field(
        False,
        description="Take rows that lack an input (a blank cell) but not all; otherwise they are an error. Models read which are there.",
    )
    on_bad_row: Literal["error", "skip"] = Field(
        "error", description="What an unusable row does: stop before training, or be counted, reported and left out."
    )

    @property
    def room(self) -> dict[str, Any]:
        """What the task is made with: its options and, of several heads, these with their columns."""
        heads = {name: {**head.model_dump(), "column": head.column or name} for name, head in self.heads.items()}
        return {**self.task_options, **({"data_heads": heads} if heads else {})}


class Augment(ByModality):
    """Which variants of an input are trained on (each is one view, the teacher's answer is stored once a view), by modality."""

    views: int = Field(
        1, ge=1, le=64, description="Variants of each input that groups the rows (at most as many as differ); view 0 is the input itself."
    )
    pairings: int = Field(
        0,
        ge=0,
        le=64,
        description="Further rows for each input that groups the rows, which read the other inputs of rows drawn at random and which the teacher "
        "alone answers: where inputs join freely, as pictures and questions do.",
    )


class Train(Section):
    """One training run: the same words for the teacher's head, the distillation and the quantization-aware part."""

    epochs: float = Field(30, gt=0, le=10_000, description="Passes over the training inputs.")
    min_steps: int = Field(
        0, ge=0, le=1_000_000, description="Optimizer steps at least: a small set is passed over more often than epochs says."
    )
    max_steps: int | None = Field(None, ge=1, description="Optimizer steps at most; null: as epochs and min_steps say.")
    batch_size: int = Field(
        128,
        ge=1,
        le=65_536,
        description="Distinct inputs of the grouping modality (images if there are any) a step; all their rows come along. Fewer, where a pass "
        "would have less than 10 steps.",
    )
    learning_rate: float = Field(3e-3, gt=0, le=10, description="Peak of the cosine schedule, AdamW.")
    warmup_fraction: Fraction = Field(0.1, description="Share of the steps in which the rate climbs linearly from 0.")
    weight_decay: float = Field(0.01, ge=0, le=1, description="AdamW's decoupled decay; biases and normalisation are spared.")
    gradient_clip: float = Field(1.0, gt=0, description="Largest global gradient norm.")
    validate_every: float = Field(1, gt=0, description="Epochs between two validations.")
    modality_dropout: Fraction = Field(0.0, description="Chance that a row's input is hidden, never all; needs data.allow_missing.")
    precision: Literal["fp32", "bf16", "fp16", "auto"] = Field(
        "fp32",
        description="Arithmetic of the layers; weights, losses and int8 stay in float32. auto: bf16 on an accelerator that is made for it, else fp32.",
    )
    patience: int | None = Field(None, ge=1, description="Validations without a gain before training stops early; null: never.")
    checkpoint_seconds: float = Field(
        30, ge=0, description="Seconds between two checkpoints that a killed run goes on from; 0: every step."
    )
    trackers: list[Literal["tensorboard", "wandb"]] = Field(["tensorboard"], description="Where accelerate logs scalars.")


class FineTune(Train):
    """Training a teacher further: all of one with weights, or the head of a fitted one and the last blocks of its encoders."""

    epochs: float = Field(6, gt=0, le=10_000, description="Passes over the training inputs.")
    batch_size: int = Field(32, ge=1, le=65_536, description="Distinct inputs of the grouping modality a step, as in other trainings.")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="Peak of the cosine schedule, AdamW; of a fitted teacher the head's.")
    patience: int | None = Field(3, ge=1, description="Validations without a gain before training stops early; null: never.")
    blocks: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        "all", description="fit: how many of the last blocks of each encoder are trained with the head; all: the whole encoders."
    )
    encoder_rate: float = Field(0.1, gt=0, le=1, description="fit: rate of the encoders as a share of learning_rate.")


class Encoder(Section):
    """One encoder: a frozen pretrained one of a `fit` teacher, or the student's."""

    model: str = Field(description="Name among the encoders of that modality, such as `compress list image_encoders` shows.")
    options: dict[str, Any] = Field({}, description="Options of that encoder.")


class Fusion(Named):
    """How the student joins its modalities: a name, or name and options."""

    name: str = Field("product", description="Name in FUSIONS: `compress list fusions`.")
    options: dict[str, Any] = Field({}, description="Options of that fusion.")


class Start(Section):
    """A student that another one goes on from."""

    run: str = Field(description="Folder of the run that left it, relative to the recipe.")
    arm: Literal["shipped", "distilled"] = Field("shipped", description="The student that the run ships, or the distilled one in any case.")


class Student(Section):
    """The small model: one encoder a modality, and a head."""

    encoders: ByModality = Field(description="An encoder for each modality of data.inputs.")
    head_width: int = Field(96, ge=8, description="Channels of the fusion head.")
    fusion: Fusion = Field(Fusion(), description="How the head joins the modalities, where there are several.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the head's last layer.")
    initialise: Start | None = Field(
        None,
        description="Go on from the student of an earlier run, such as when rows have come: the same student, tokens and weights; labels that "
        "are new start afresh. null: the encoders start as they say.",
    )
    classifier: Literal["own", "teacher"] = Field(
        "own",
        description="The last layer. teacher: that of the teacher, kept as it is behind a projection to its width; both are part of the student, "
        "exported, quantized and counted. The loss simkd needs it.",
    )


class Distill(Section):
    """Training the student on labels and on the teacher."""

    losses: list[Loss] = Field(
        [Loss(name="cross_entropy"), Loss(name="kd", options={"temperature": 2.0})],
        min_length=1,
        description="Terms of the loss; those that read labels skip unlabelled rows. Where none reads the teacher the student trains without it.",
    )
    taps: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")], Tap] = Field(
        {}, description="Layers inside that losses compare, by a name of your own; the embedding, what the last layer reads, needs none."
    )
    objective: Literal["losses", "auto"] = Field(
        "losses",
        description="losses: what the list says; auto: the list's teacher terms compete with others in short pilots, scored on validation, and the "
        "winner is trained. Below 200 validation rows they are scored on training inputs that are held out; where all pilots would cost more than 35 % of a "
        "training, the list itself teaches.",
    )
    balance: bool = Field(
        True,
        description="A term that starts larger than the cross-entropy is scaled down to its size, so that a teacher never drowns the labels; its "
        "weight then says its share.",
    )
    teacher: Literal["stored", "live", "auto"] = Field(
        "stored",
        description="stored: the teacher's answers to the views, made once; live: it answers the very variant that the student sees, new ones in "
        "every pass; auto: live where inputs vary without end and the teacher's time is at most the student's.",
    )
    adversarial: Adversarial | None = Field(
        None, description="Train on images that are changed against the student; null: on those of the data."
    )
    rounds: int = Field(
        1,
        ge=1,
        le=10,
        description="Students at most, of which each teaches the next, as long as validation gains; the teacher teaches the first.",
    )
    round_teacher: Literal["last", "ensemble"] = Field(
        "last", description="Who teaches from the second round on: the round before, or all rounds before with the mean of their answers."
    )
    store_top_k: int | None = Field(
        None,
        ge=1,
        description="Of the teacher's stored answers the k likeliest labels of a row, for many labels: the rest share what probability is left. null: all.",
    )
    combine: Literal["mean", "learned", "confidence", "best", "agreement"] = Field(
        "mean",
        description="How the answers of several `teachers` become one. mean: of their probabilities; learned: that mean, with the weight of each "
        "teacher that fits the validation labels most; confidence: each weighted by how sure it is of the row; best: of a labelled row the teacher that gives its label most, else the surest; agreement: mean, and rows on which the "
        "teachers disagree are left out of the teacher's terms as often as they do. Others than mean need one of K labels.",
    )
    train: Train = Field(Train(), description="Schedule.")
    augment: Augment = Field(Augment(), description="Views of the inputs.")
    compare_alone: bool = Field(
        False,
        description="Also train the student without the teacher, on labels alone with the same schedule; it ships where validation shows it better.",
    )

    @property
    def asks_teacher(self) -> bool:
        """Whether a teacher takes part: without one a student trains on the labelled rows alone, and on fresh variants of them."""
        return self.objective == "auto" or any(reads_teacher(LOSSES[loss.name]) for loss in self.losses)

    @property
    def unaided(self) -> list[Loss]:
        """The losses that the student alone has as well."""
        return without_teacher(self.losses)

    @property
    def hidden(self) -> list[str]:
        """The hidden states of the teacher that the losses compare, and that are therefore stored beside its logits."""
        return hidden_states(self.losses)

    @property
    def teacher_taps(self) -> dict[str, tuple[str, str]]:
        """Of the teacher's taps that the losses compare, path and reading by name."""
        return {name: (tap.teacher, tap.reads) for name, tap in self.taps.items() if name in self.hidden}

    @property
    def student_taps(self) -> dict[str, tuple[str, str]]:
        """The same of the student."""
        return {name: (tap.student, tap.reads) for name, tap in self.taps.items() if name in self.hidden}


class Quantize(Section):
    """Making the student int8, with the teacher in the loop."""

    method: Literal["int8_qat", "int8_ptq", "int8_dynamic", "none"] = Field("int8_qat", description="Name in QUANTIZERS.")
    teacher: Literal["teacher", "student", "both"] = Field(
        "teacher",
        description="Whose answers the int8 student learns from: the teacher's, the fp32 student's, or the mean of their logits. Where the "
        "student alone ships (distill.compare_alone), the fp32 student's in any case.",
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
        0.0,
        description="Share of the multiply-adds that must run in int8 on x86 after the runtime's optimisation; a file with less is left out.",
    )
    train: Train = Field(Train(epochs=4, learning_rate=3e-4), description="Schedule of the quantization-aware part.")

    @model_validator(mode="after")
    def _trains_in_float32(self) -> Quantize:
        if self.train.precision != "fp32":
            raise ValueError("train.precision: int8 is trained in fp32 alone, because bfloat16 rounds between its codes; leave it out")
        return self


class Export(Section):
    """ONNX files."""

    opset: int = Field(20, ge=18, le=20, description="ONNX opset; 18 to 20 is what JetPack's TensorRT 10 takes.")
    targets: list[Literal["onnxruntime_x86", "onnxruntime_arm", "tensorrt"]] = Field(
        ["onnxruntime_x86", "tensorrt"],
        description="Runtimes that get a quantized file of their own; int8 training computes as the first one does. Where all int8 files of one fail "
        "the gate, the run ends with exit code 7, after report and bundle.",
    )
    mobile: list[Literal["ort_format", "litert"]] = Field(
        [],
        description="Files for phones and boards, for the bundle's folder `mobile`. ort_format: .ort for ONNX Runtime's mobile builds on ARM, with "
        "the operators that such a build needs; litert: the float32 student as .tflite, one row a call (extra: litert).",
    )
    shares: bool = Field(
        False,
        description="The student's files have a second output, `shares`: how much the fusion let in of each input by its weights, gates or attention, "
        "in the order of the inputs, 1 together. On a device `predict` prints it.",
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
    rounds: int = Field(200, ge=10, description="Timed calls of each model and batch at most, interleaved.")
    precision: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        0.02,
        description="A model has enough calls once its median and its ratios are known within this share (half of the 95 % interval), as far as "
        "the first 20 calls can tell; null: all rounds.",
    )
    seconds: float = Field(10.0, gt=0, description="Seconds that the calls of one model at one batch may take, beyond its first 10.")
    warmup: int = Field(20, ge=1, description="Calls before the clock starts, at least; ten times as many while a model still gets faster.")
    test_limit: int | None = Field(None, ge=1, description="Test rows scored at most; null: all.")
    robustness: Robustness | None = Field(
        None, description="Also score files on images that are changed against the student; null: do not."
    )
    runtimes: list[Literal["ort_format", "openvino", "litert"]] = Field(
        [],
        description="Other runtimes that answer and are timed beside ONNX Runtime; what ships is chosen without them. litert reads the file of "
        "export.mobile: [litert].",
    )


class Bundle(Section):
    """What ships beside models and runner."""

    examples: list[Literal["cpp"]] = Field(
        [],
        description="Programs that ask the models, in the bundle's folder `examples`. cpp: C++17 on ONNX Runtime's C API, with its header.",
    )


class Budget(Section):
    """A contract: a run that misses a line ends with exit code 3, after the report."""

    max_drop_points: float | None = Field(None, ge=0, description="Test accuracy that the shipped student may lose to the teacher, points.")
    max_drop_high_points: float | None = Field(
        None, ge=0, description="The same at the pessimistic end of its 95 % interval, points: what is shown and not what is estimated."
    )
    min_latency_ratio: float | None = Field(
        None, gt=0, description="Teacher's latency over the shipped student's, batch 1: the median of paired calls."
    )
    max_latency_ms: float | None = Field(None, gt=0, description="Shipped student's p95 at batch 1 on the benchmark machine, ms.")
    max_median_ms: float | None = Field(None, gt=0, description="Its median there, ms.")
    max_cold_start_ms: float | None = Field(
        None, gt=0, description="From the start of its process to its first answer there, ms; one measurement."
    )
    max_memory_mb: float | None = Field(
        None, gt=0, description="Most memory of such a process, Python and runtime included, MB (10^6 bytes)."
    )
    max_size_mb: float | None = Field(None, gt=0, description="Shipped ONNX file, MB (10^6 bytes).")
    max_head_drop_points: float | None = Field(
        None,
        ge=0,
        description="Of several heads: what the shipped student may lose to the teacher in the head that loses most, points of its own measure.",
    )
    min_slice_percent: float | None = Field(
        None, gt=0, le=100, description="Test accuracy of the shipped student in the worst part of data.options.slices that has 10 rows, %."
    )
