"""The commands of a bundle's `run.py`: predict, explain, verify, bench, choose, build-engine and info.

Each command is one function that prints and returns nothing. An expected failure is one line on stderr and a non-zero exit code:
1 unusable input or runtime, 2 wrong usage, 7 other answers than recorded, 8 TensorRT, 9 a bundle that does not verify.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from .errors import DeviceError
from .manifest import SIGNATURE, verify_folder

RUNTIMES = ("onnxruntime_cpu", "onnxruntime_cuda", "onnxruntime_tensorrt", "openvino", "litert", "tensorrt", "tensorrt_rtx")


def main(argv: list[str], *, folder: Path) -> int:
    """Runs one command on the bundle in `folder` and gives the exit code."""
    arguments = parse(argv, folder)
    try:
        arguments.command(arguments, folder)
    except DeviceError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def parse(argv: list[str], folder: Path) -> argparse.Namespace:
    """The options of one command, with those of the inputs that the bundle in `folder` reads where it answers."""
    return _parser(folder, asks=not {"predict", "explain"}.isdisjoint(argv)).parse_args(argv)


def predict(arguments: argparse.Namespace, folder: Path) -> None:
    """Prints the answer, then what else is likely."""
    from .predictor import Predictor
    from .tasks import answerer

    with Predictor(folder, model=arguments.model, runtime=arguments.runtime, threads=arguments.threads) as predictor:
        given = {name: vars(arguments)[name] for name in predictor.bundle.asked}
        words = answerer(predictor.bundle.task).lines
        if arguments.hop is None:
            answer = predictor.predict(**given)
            if arguments.against:
                from .against import rank_against

                answer["ranked"] = rank_against(predictor, answer, arguments.against, top=arguments.top)
            if save := getattr(answerer(predictor.bundle.task), "save", None):
                answer = save(answer, given, arguments.out)
            elif arguments.out:
                raise DeviceError(f"answers of {predictor.bundle.task} are text alone; leave --out out")
            lines = [*words(answer), *_beside(answer)]
        else:
            answer = {"windows": predictor.predict_windows(arguments.hop, **given)}
            heard = [(w, "silence" if "silent" in w else words(w)[0]) for w in answer["windows"]]
            lines = [f"{window['start_s']:8.2f} to {window['end_s']:.2f} s  {said}" for window, said in heard]
    _show(answer, lines, as_json=arguments.json)


def explain(arguments: argparse.Namespace, folder: Path) -> None:
    """Prints the answer, and for each input what the answer would lose without it, such as probability, against the golden samples."""
    from . import explain as explaining
    from .predictor import Predictor

    with Predictor(folder, model=arguments.model, runtime=arguments.runtime, threads=arguments.threads) as predictor:
        given = {name: vars(arguments)[name] for name in predictor.bundle.asked}
        explained, task = explaining.explain(predictor, given), predictor.bundle.task
    _show(explained, explaining.lines(explained, task), as_json=arguments.json)


def verify(arguments: argparse.Namespace, folder: Path) -> None:
    """Checks signature (with --key), the hash of every file, then the golden answers of every model, or of --model."""
    if arguments.key:
        from .signature import verify_signature

        verify_signature(folder, _read_key(Path(arguments.key)))
    files = verify_folder(folder)["files"]  # before anything but the standard library is imported
    from . import bundle as bundles
    from . import contents

    bundle = contents.read_bundle(folder)
    models = [contents.find_model(bundle, arguments.model)] if arguments.model else bundle.models
    options = {"runtime": arguments.runtime, "threads": arguments.threads, "tolerance": arguments.tolerance}
    golden = {model.name: bundles.check_model(bundle, model, **options) for model in models}
    for model in models:
        towers = bundles.check_towers(bundle, model, **options)
        golden |= {f"{model.name}, {tower}": found for tower, found in towers.items()}
    signature = "verified" if arguments.key else "not checked: give --key" if (folder / SIGNATURE).exists() else "none"
    lines = [f"{len(files)} files as listed; signature: {signature}"]
    for name, result in golden.items():
        same = "" if result["agreement"] is None else f"{result['agreement']:.1%} of "
        share = f"{same}{result['samples']} golden answers"
        told = f", of a share {result['shares']:.1e}" if "shares" in result else ""
        lines.append(f"{name}: {share}, largest difference {result['max_difference']:.1e}{told} ({arguments.runtime})")
    _show({"files": len(files), "signature": signature, "runtime": arguments.runtime, "golden": golden}, lines, as_json=arguments.json)


def bench(arguments: argparse.Namespace, folder: Path) -> None:
    """Times every model, or --model, and writes measurements.json."""
    from . import contents
    from .measure import MEASUREMENTS
    from .measure import bench as measure

    bundle = contents.read_bundle(folder)
    models = [contents.find_model(bundle, arguments.model)] if arguments.model else list(bundle.models)
    out = Path(arguments.out) if arguments.out else folder / MEASUREMENTS
    options = {"rounds": arguments.rounds, "warmup": arguments.warmup, "threads": arguments.threads, "runtime": arguments.runtime}
    result = measure(bundle, models, batches=arguments.batches, out=out, **options)
    lines = [f"{result['device']['name']}, {result['runtime']['version']} ({arguments.runtime}), {arguments.threads} thread(s)"]
    for line in result["measurements"]:
        interval = f"median {line['median_ms']:.3f} ms [{line['low_ms']:.3f}, {line['high_ms']:.3f}], p95 {line['p95_ms']:.3f} ms"
        lines.append(f"{line['model']:<16} batch {line['batch']:<3} {interval}, {line['rounds']} rounds")
    _show(result, [*lines, f"written to {out}"], as_json=arguments.json)


def choose(arguments: argparse.Namespace, folder: Path) -> None:
    """Chooses the model that answers on this device from its measurements, and says why."""
    from . import contents
    from .choose import CHOSEN
    from .choose import choose as decide
    from .measure import MEASUREMENTS

    measurements = Path(arguments.measurements) if arguments.measurements else folder / MEASUREMENTS
    choice = decide(contents.read_bundle(folder), measurements=measurements, batch=arguments.batch)
    lines = [f"{choice['model']}: {choice['reason']}", *(f"{name} {verdict}" for name, verdict in choice["verdicts"].items())]
    _show(choice, [*lines, f"written to {folder / CHOSEN}; predict uses it with this runtime"], as_json=arguments.json)


def build_engine(arguments: argparse.Namespace, folder: Path) -> None:
    """Builds the TensorRT engine of one model for this device, or finds it in the cache."""
    from . import contents
    from .engines import cached_engine

    bundle = contents.read_bundle(folder)
    model = contents.find_model(bundle, arguments.model)
    engine, facts, built = cached_engine(bundle, model, flavour=arguments.flavour)
    how = f"built in {facts['build_seconds']} s" if built else "up to date"
    line = f"{engine}: {how}, {facts['engine_bytes']} bytes, {facts['flavour']} {facts['version']}"
    _show({"engine": str(engine), "model": model.name, "built": built, "key": facts["key"]}, [line], as_json=arguments.json)


def info(arguments: argparse.Namespace, folder: Path) -> None:
    """Prints the bundle, this device, and which runtimes can run here."""
    from . import contents
    from .info import describe_device
    from .sessions import SESSIONS, refusal

    bundle, device = contents.read_bundle(folder), describe_device()
    refused = {name: refusal(name) for name in SESSIONS}
    ports = {name: [port["dtype"], *port["shape"]] for name, port in bundle.inputs.items()}
    names = [model.name for model in bundle.models]
    lines = [f"models: {', '.join(names)} (model.onnx is {bundle.chosen}); {len(bundle.labels)} labels; at most {bundle.max_batch} a batch"]
    lines += [f"reads {name}: {' '.join(str(word) for word in port)}" for name, port in ports.items()]
    lines += [
        f"device: {device['name']}, {device['machine']}, {device['cores']} cores, {device['memory_mib']} MiB, Python {device['python']}"
    ]
    lines += [f"{name}: {reason or 'available'}" for name, reason in refused.items()]
    data = {"identity": bundle.identity, "models": names, "chosen": bundle.chosen, "labels": list(bundle.labels), "inputs": ports}
    _show({**data, "device": device, "runtimes": refused}, lines, as_json=arguments.json)


def _beside(answer: dict[str, Any]) -> list[str]:
    """What is said of an answer of any task: what the model let in of each input, where it tells that, and what was missing."""
    told = ", ".join(f"{name}: {share:.2f}" for name, share in answer.get("contributed", {}).items())
    missing = " and ".join(answer.get("missing", []))
    return [f"contributed: {{{told}}}"] * bool(told) + [f"answered without {missing}"] * bool(missing)


def _parser(folder: Path, *, asks: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run.py", description="Answers, verifies and measures on this device.", allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    options = _input_options(folder) if asks else []  # readers import numpy: not before `verify` has checked every hash
    for word, function, gloss in (("predict", predict, "answer one question"), ("explain", explain, "say which input decided an answer")):
        command = _add(commands, word, function, gloss)
        for name, option, hint in options:
            command.add_argument(option, dest=name, help=hint)
        if word == "predict":
            command.add_argument("--hop", type=float, help="seconds: answer for each window of a long sound, one every so often")
            command.add_argument(
                "--against", metavar="PATH", help="hold it against a folder of files, a file, lines (.txt) or vectors (.npy), by cosine"
            )
            command.add_argument("--out", metavar="FILE", help="where a mask goes, as PNG (default: beside the picture)")
            command.add_argument("--top", type=_positive, default=10, help="with --against: so many of the nearest (default: 10)")
    command = _add(commands, "verify", verify, "check hashes, signature and golden answers")
    command.add_argument("--key", help="public Ed25519 key, PEM: also check who signed the bundle")
    command.add_argument("--tolerance", type=float, help="largest difference of a logit, as a share of the largest (default: by precision)")
    command = _add(commands, "bench", bench, "measure latency")
    command.add_argument("--batches", type=_positive, nargs="+", default=[1, 8], help="batch sizes (default: 1 8)")
    command.add_argument("--rounds", type=_positive, default=200, help="timed calls a model and batch (default: 200)")
    command.add_argument("--warmup", type=_positive, default=20, help="calls before the clock starts (default: 20)")
    command.add_argument("--out", help="where the measurements go (default: measurements.json in the bundle)")
    command = _add(commands, "choose", choose, "choose the model that is fastest here")
    command.add_argument("--batch", type=_positive, default=1, help="batch size that counts (default: 1)")
    command.add_argument("--measurements", help="what bench wrote (default: measurements.json in the bundle)")
    command = _add(commands, "build-engine", build_engine, "build the TensorRT engine for this device")
    command.add_argument("--flavour", choices=("tensorrt", "tensorrt_rtx"), default="tensorrt", help="default: tensorrt")
    _add(commands, "info", info, "show bundle, device and runtimes")
    return parser


def _input_options(folder: Path) -> list[tuple[str, str, str]]:
    """(port, option, help) of each input of the bundle; those of every modality here where there is no bundle to ask."""
    from .contents import IO_SPEC, PRESENT
    from .modalities import MODALITIES, reader

    try:
        names = [port["name"] for port in json.loads((folder / IO_SPEC).read_text(encoding="utf-8"))["inputs"]]
    except (OSError, ValueError, KeyError, TypeError):  # what is wrong with it is said when the bundle is read
        names = list(MODALITIES)
    return [(name, reader(name).OPTION, reader(name).HELP) for name in names if name != PRESENT]


def _add(commands: Any, name: str, function: Any, summary: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=function.__doc__, allow_abbrev=False)
    command.set_defaults(command=function)
    command.add_argument("--json", action="store_true", help="print one line of JSON")
    if name not in ("info", "choose"):
        command.add_argument("--model", help="a name in models.json (default: the chosen one; verify and bench: all)")
    if name in ("predict", "explain", "verify", "bench"):
        command.add_argument("--runtime", choices=RUNTIMES, default=RUNTIMES[0], help=f"default: {RUNTIMES[0]}")
        command.add_argument("--threads", type=_positive, default=1, help="CPU threads (default: 1)")
    return command


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def _read_key(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DeviceError(f"{path}: cannot be read ({error.strerror}); check --key") from error


def _show(data: dict[str, Any], lines: list[str], *, as_json: bool) -> None:
    print(json.dumps(data) if as_json else "\n".join(lines))
