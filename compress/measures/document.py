"""What measurements.json holds, key by key: the classes behind docs/measurements.schema.json, which `compress schema measurements` prints.

The benchmark writes plain dicts; a test validates them against this. Null stands for what was not or could not be measured. Where a value is
a share it is a fraction, a difference is in points, a time is in ms.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


def _(description: str, **more: Any) -> Any:
    """A key that is always there."""
    return Field(description=description, **more)


def _may(description: str) -> Any:
    """A key that is left out, or null, where there is nothing to say."""
    return Field(None, description=description)


class Part(BaseModel):
    """A part of the document: no unknown keys."""

    model_config = ConfigDict(extra="forbid")


class Number(Part):
    """One figure."""

    value: float | None = _("The figure; null where it is unknown.")
    unit: str = _("Its unit: fraction, bytes, parameters, ms, nats, samples, points, ratio, 1/s or J.")
    samples: int | None = _may("How many rows, or repetitions, it is of.")
    batch: int | None = _may("Rows a call that it was taken with.")
    low: float | None = _may("The smallest of several.")
    high: float | None = _may("The largest.")
    includes: str | None = _may("What was imported, and is part of it.")


class Paired(Part):
    """A model against another one that answered the same rows: positive where the model is better."""

    difference: float = _("Points.")
    low: float = _("Lower end of the 95 % interval, points.")
    high: float = _("Its upper end.")
    a_only: int = _("Rows that this model alone has right, or answers better.")
    b_only: int = _("Rows that the other model alone has right, or answers better.")
    p: float = _("How often models that do not differ would seem to differ this much; two-sided.")
    samples: int = _("Rows.")
    clusters: int | None = _("Groups of rows that were drawn together; null: each row stands for itself.")
    method: str = _("How interval and p were found.")
    margin: float | None = _("Points within which both count as the same; null: none was given.")
    unit: Literal["points"] = _("Of the difference.")
    verdict: str = _("better, worse, not shown, or the same within the margin.")


class Share(Part):
    """A share of rows, or the mean gain of a task that has no right and wrong, with its 95 % interval."""

    value: float | None = _("The share; null without rows.")
    low: float | None = _may("Lower end.")
    high: float | None = _may("Upper end.")
    samples: int | None = _may("Rows.")
    correct: int | None = _may("Rows that are right.")
    unit: Literal["fraction"] = _("Of all of these.")


class Accuracy(Share):
    """How good a model is, and by how much it differs from others, row by row."""

    model_config = ConfigDict(extra="allow")  # against_<modality>_alone: one for each modality
    __pydantic_extra__: dict[str, Paired]

    against_teacher: Paired | None = _may("Against the teacher.")
    against_fp32: Paired | None = _may("Against the student in float32.")
    against_majority: Paired | None = _may("Against the answer that fits the training rows best.")


class Named(Share):
    """The share of one answer, kind or slice."""

    name: str = _("Which.")


class Baseline(Share):
    """What no model at all would reach."""

    answer: str | None = _may("The answer that is always given.")


class Ratio(Part):
    """A ratio of two times, taken call by call in turns, with its 95 % interval."""

    value: float = _("The median.")
    low: float = _("Lower end.")
    high: float = _("Upper end.")
    unit: Literal["ratio"] = _("It has none.")
    rounds: int = _("Pairs of calls.")


class Times(Part):
    """Durations of calls."""

    median_ms: float = _("Median, ms.")
    p90_ms: float = _("90th percentile.")
    p95_ms: float = _("95th percentile.")
    p99_ms: float | None = _("99th percentile; null under 100 rounds.")
    mean_ms: float = _("Mean.")
    low_ms: float = _("Lower end of the median's 95 % interval.")
    high_ms: float = _("Its upper end.")
    rounds: int = _("Calls.")


class Latency(Times):
    """One model at one batch size, in turns with all others."""

    unit: Literal["ms"] = _("Of the times.")
    batch: int = _("Rows a call.")
    threads: int = _("CPU threads.")
    ended: Literal["rounds", "time", "precision"] = _("Why there are no more rounds.")
    teacher_over_this: Ratio | None = _may("The teacher's time over this one's.")
    this_over_fp32: Ratio | None = _may("This time over that of the student in float32.")


class Interval(Part):
    """A share with its 95 % interval."""

    value: float | None = _("Null where nothing was counted.")
    low: float | None = _may("Lower end.")
    high: float | None = _may("Upper end.")


class Class(Part):
    """One class of one of K labels."""

    name: str = _("The label.")
    samples: int = _("Rows that are so.")
    answered: int = _("Rows that are answered so.")
    precision: Interval = _("Of the rows answered so, the share that is so.")
    recall: Interval = _("Of the rows that are so, the share answered so.")
    f1: Interval = _("Their harmonic mean.")
    roc_auc: Interval = _("How often a row of the class is given a higher probability of it than another row.")
    pr_auc: Interval = _("Average precision.")


class Macro(Part):
    """Means over the classes that occur."""

    precision: float | None = _("A precision of nothing is 0.")
    recall: float | None = _("Mean recall.")
    f1: float | None = _("Mean F1.")
    roc_auc: float | None = _("Mean area; null where no class has one.")
    pr_auc: float | None = _("Mean average precision.")


class Bin(Part):
    """The rows whose answer is given with a probability between two bounds."""

    low: float = _("Lower bound.")
    high: float = _("Upper bound.")
    samples: int = _("Rows.")
    confidence: float = _("Their mean probability.")
    accuracy: Interval = _("The share of them that is right.")


class Calibration(Part):
    """How often an answer is right that is given with such a probability."""

    ece: float = _("Expected calibration error (arXiv 1706.04599).")
    bins: list[Bin] = _("Those with rows.")
    temperature: float = _("What the logits are divided by.")
    ece_without: float = _("The error at temperature 1.")


class Labels(Part):
    """One of K labels, looked at more closely."""

    by_class: list[Class] = _("Each class that is a label or an answer.")
    macro: Macro = _("Means over them.")
    confusions: list[list[int]] = _("[label, answer, rows] of the wrong answers, the most frequent first; places in `labels`.")
    top: dict[str, Interval] = _("k -> the share of rows whose label is among the first k answers.")
    calibration: Calibration = _("How sure is how right.")


class Streams(Part):
    """Several callers that ask one session at once, at batch 1; each answer is computed by one thread."""

    streams: int = _("Callers.")
    answers_per_s: Number = _("Of all callers together; median, smallest and largest of several slices.")
    over_one: Ratio | None = _may("The ratio to one caller, slice by slice.")
    joules: Number | None = _may("Energy of an answer, the processor's idle part included; null where it cannot be read.")


class Energy(Part):
    """Whose energy was counted."""

    packages: list[str] = _("Processors, by RAPL; empty where there are no counters.")
    why: str | None = _may("Why there are none.")


class Around(Part):
    """What a device does around the model for one row, by the shipped runner's own code."""

    of: str = _("The file whose outputs are made into answers; inputs are read alike for all files of the student.")
    inputs: dict[str, dict[str, Times]] = _("Modality -> form that is handed over -> reading it: decoding, resizing, tokenising.")
    answer: Times = _("From outputs to the answer.")


class Node(Part):
    """A node of the file, as the runtime fused it."""

    node: str = _("Its name.")
    operator: str = _("Its operator.")
    us: float = _("Median microseconds.")
    share: float = _("Of all nodes' time.")


class Profile(Part):
    """Where the time of a file goes."""

    nodes: list[Node] = _("The costliest.")
    operators: dict[str, float] = _("Operator -> its share of the time.")
    multiply_adds: int = _("Of one row.")
    giga_ops_per_s: float = _("Attained: twice the multiply-adds over the median latency, 10^9 a second.")


class Parity(Part):
    """How far a variant is from the student's file that it must answer as."""

    of: str = _("That file.")
    samples: int = _("Rows that are finite in both.")
    max_difference: float = _("Of a logit.")
    mean_difference: float = _("Of a logit.")
    relative: float = _("||other - reference|| / ||reference||.")
    agreement: float | None = _("Share of rows with the same decision.")


class Differing(Number):
    """The rows that a model answers otherwise than its teacher, and who has them right."""

    teacher_alone: int = _("The teacher alone.")
    this_alone: int = _("This model alone.")
    neither: int = _("Neither.")
    both: int = _("Both: of tasks that have no right and wrong.")


class Head(Part):
    """One of several heads of a file, on the test rows that have its label."""

    task: str = _("In TASKS.")
    measure: str = _("What its mean gain is called.")
    accuracy: Accuracy = _("Its mean gain.")
    labels: Labels | None = _may("Of one of K labels.")


class Model(Part):
    """One file, or a teacher of which there are stored answers alone."""

    role: Literal["teacher", "student", "variant"] = _("variant: a student's file in another runtime, which never ships.")
    precision: Literal["fp32", "fp16", "int8_dynamic", "int8_ptq", "int8_qat"] = _("Its arithmetic.")
    target: str | None = _("The runtime that it was written for; null: any.")
    runtime: str | None = _("The library that answered, with its version.")
    file: str | None = _("The file's name.")
    size: Number = _("On disk, with external weights.")
    parameters: Number = _("Counted in torch.")
    accuracy: Accuracy = _("The task's mean gain on the test rows (`task.measure`).")
    validation: Accuracy | None = _may("The same on validation, which is what choices look at.")
    metrics: dict[str, Number] = _("The other metrics of the task.")
    agreement: Number = _("The mean gain where the teacher's answers are taken for labels.")
    differs: Differing | None = _may("From the teacher, on the test rows that it answered.")
    non_finite: Number = _("Rows with a logit that is not finite.")
    by_answer: list[Named] = _("By label.")
    by_kind: list[Named] = _("By kind of row.")
    by_slice: dict[str, list[Named]] = _("Column -> by its values.")
    labels: Labels | None = _may("Of one of K labels.")
    heads: dict[str, Head] | None = _may("Of several heads each.")
    latency: dict[str, Latency] | None = _("Batch -> times; null where the file's target is another machine.")
    peak_memory: Number | None = _("Largest resident memory of a fresh process that opens the file and answers; median of several.")
    cold_start: Number | None = _("From the start of such a process to its first answer; median of several.")
    streams: list[Streams] | None = _may("Of the teacher, the fp32 student and the best int8 one.")
    profile: Profile | None = _may("Of students that were timed.")
    parity: Parity | None = _may("Of variants.")


class Device(Part):
    """The machine."""

    model_config = ConfigDict(extra="allow")

    name: str = _("As the system names its processor or board.")
    machine: str = _("Architecture.")
    cores: int | None = _("That this process may use.")
    runtime: str = _("ONNX Runtime with its version.")
    vnni: bool = _("Whether int8 products are added in 32 bits.")


class Task(Part):
    """What is answered."""

    name: str = _("In TASKS.")
    measure: str = _("What the mean gain is called.")
    constant: str = _("What is answered without looking.")
    agreement: str = _("What the mean gain is called where the teacher's answers are the labels; empty: as the measure.")


class Timing(Part):
    """How the times of one batch size were taken."""

    warmup: int = _("Untimed rounds.")
    steady: bool = _("Whether no model got faster any more when the clock started.")
    noise: float = _("Spread of a reference sort: its 90th less its 10th percentile, over its median.")
    noisy: bool = _("Whether that is too much.")


class Peaks(Part):
    """What this machine can do at best."""

    fp32: float = _("10^9 operations a second of a large product of matrices.")
    int8: float = _("The same in int8.")
    copy_: float = _("10^9 bytes read or written a second.", alias="copy")


class Subset(Part):
    """What models are worth with some of the inputs alone."""

    inputs: list[str] = _("Those that are given.")
    accuracy: dict[str, Share] = _("By model.")


class MeasurementsDocument(Part):
    """measurements.json of a run's benchmark stage: every file against the same test rows, measured on one machine."""

    schema_version: Literal[1] = _("Raised where a key goes or changes its meaning, not where one is added.")
    command: str = _("What takes the figures again, in the benchmark's folder.")
    device: Device = _("Where.")
    target: str = _("The export target whose latency this machine can measure.")
    threads: int = _("CPU threads of the timed calls.")
    task: Task = _("What is answered.")
    labels: list[str] = _("What an answer may be, in the order of the model's outputs.")
    kinds: list[str] = _("Kinds of rows.")
    samples: int = _("Test rows.")
    models: dict[str, Model] = _("By name.")
    baselines: dict[str, Baseline] = _("What no model at all would reach.")
    timing: dict[str, Timing] = _("Batch -> how its times were taken.")
    energy: Energy = _("Whose energy was counted.")
    around: Around | None = _may("What a device does around the model.")
    peaks: Peaks = _("What this machine can do at best.")
    skipped: dict[str, str] = Field({}, description="Variant -> why it was not measured.")
    subsets: list[Subset] | None = _may("Where models take rows that lack inputs.")


def json_schema() -> dict[str, Any]:
    """The JSON Schema of measurements.json."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **MeasurementsDocument.model_json_schema()}
