"""An LSTM as a student of texts, against the transformer and the bag that there are, at equal parameters: accuracy on BANKING77, latency of one text.

    python benchmarks/lstm.py --banking77 FOLDER   one seed after the other; FOLDER holds train.csv and test.csv with the columns text and category
    python benchmarks/lstm.py --publish            puts the table into its document

Trained on labels alone, one learning rate for each, the same batches. Its int8 form is what ONNX Runtime makes of an LSTM (weights in int8, activations
when they come); the others' is ours, calibrated. One thread, one text a call, calls in turns. Results lie in results/lstm, one file a seed.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from record import (
    RESULTS,
    add_table_arguments,
    markdown_table,
    origin,
    origin_line,
    read_results,
    run_program,
    show_tables,
    spread,
    write_result,
)
from torch import Tensor, nn

from compress.device.sessions import open_session
from compress.device.timing import Effort, ratio_interval, summarise, time_calls
from compress.graphs.retarget import retarget
from compress.io_spec import IOSpec, Port
from compress.modalities.tokens import learn_vocabulary, tokenize
from compress.models.classifier import Classifier, LinearHead
from compress.models.saved import count_parameters
from compress.models.text import bag, distilbert
from compress.models.tokens import Tokens
from compress.quantizers import calibrate, freeze, prepare, use_unsigned
from compress.recipe.sections import Quantize
from compress.stages.export.from_torch import IR_VERSION, export_module, save

LENGTH, WIDTH, BATCH, MOST = 32, 64, 64, 32  # tokens, channels of a token, texts of a step, texts of a call
RATES = {"transformer": 2e-3, "lstm": 4e-3, "bag": 1e-2}
OPSET = 20


class Lstm(nn.Module):
    """Word vectors, one LSTM, the mean of its states over the tokens that are not padding: (N, T) int64 -> (N, D)."""

    def __init__(self, vocabulary: int, hidden: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, WIDTH)
        nn.init.normal_(self.words.weight, std=0.1)
        self.lstm = nn.LSTM(WIDTH, hidden, batch_first=True)
        self.width = hidden

    def forward(self, text: Tensor) -> Tensor:
        return Tokens(self.lstm(self.words(text))[0], text.bool().float()).mean()


def candidates(io: IOSpec) -> dict[str, Classifier]:
    """The three students, LSTM and bag as wide as makes them nearest in parameters to the transformer."""
    (port,), (classes,) = io.inputs, io.outputs[0].shape
    vocabulary = int(port.high or 0) + 1

    def whole(encoder: Any) -> Classifier:
        return Classifier({"text": encoder}, LinearHead("text", encoder.width, classes))

    def nearest(make: Callable[[int], Any], widths: Sequence[int]) -> Classifier:
        with torch.device("meta"):
            sizes = {width: abs(count_parameters(whole(make(width))) - wanted) for width in widths}
        return whole(make(min(sizes, key=lambda width: sizes[width])))

    transformer = whole(distilbert(port, width=WIDTH))
    wanted = count_parameters(transformer)
    lstm = nearest(lambda width: Lstm(vocabulary, width), range(32, 256, 4))
    return {"transformer": transformer, "lstm": lstm, "bag": nearest(lambda width: bag(port, width=width), range(32, 256))}


def train(model: nn.Module, texts: Tensor, labels: Tensor, *, rate: float, passes: int, seed: int) -> None:
    """AdamW on cross-entropy, the rate falling to nothing along a cosine."""
    draw, steps = torch.Generator().manual_seed(seed), passes * (len(texts) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    model.train()
    for _ in range(passes):
        for index in torch.randperm(len(texts), generator=draw)[: len(texts) // BATCH * BATCH].view(-1, BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model({"text": texts[index]}).logits, labels[index]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    model.eval()


def write_files(name: str, model: Classifier, io: IOSpec, texts: Tensor, folder: Path) -> dict[str, Path]:
    """The float32 file and the int8 one."""
    files = {form: folder / f"{name}-{form}.onnx" for form in ("fp32", "int8")}
    if name == "lstm":
        from onnxruntime.quantization import QuantType, quantize_dynamic

        onnx.save(lstm_graph(model, io), files["fp32"])
        quantize_dynamic(files["fp32"], files["int8"], op_types_to_quantize=["LSTM", "Gemm", "MatMul"], weight_type=QuantType.QInt8)
        return files
    save(export_module(model, io, OPSET), files["fp32"])
    quantized = prepare(model, Quantize())
    calibrate(quantized, [({"text": texts[start : start + BATCH]}, None) for start in range(0, 8 * BATCH, BATCH)])
    use_unsigned(quantized, True)
    save(retarget(export_module(freeze(quantized), io, OPSET), "onnxruntime_x86"), files["int8"])
    return files


def lstm_graph(model: Classifier, io: IOSpec) -> onnx.ModelProto:
    """The student with ONNX's LSTM, whose gates stand in another order than torch's (i, o, f, c for i, f, g, o); torch's exporter unrolls it."""
    encoder, output = model.encoders["text"], model.head.output
    state = {name: value.detach().numpy() for name, value in encoder.lstm.state_dict().items()}

    def gates(name: str) -> np.ndarray:
        i, f, g, o = np.split(state[name], 4)
        return np.concatenate([i, o, f, g])[None]

    arrays = {
        "words": encoder.words.weight.detach().numpy(),
        "W": gates("weight_ih_l0"),
        "R": gates("weight_hh_l0"),
        "B": np.concatenate([gates("bias_ih_l0"), gates("bias_hh_l0")], 1),
        "weight": output.weight.detach().numpy(),
        "bias": output.bias.detach().numpy(),
        "direction": np.array([1]),
        "none": np.array(0),
        "middle": np.array([1]),
    }
    make = helper.make_node
    nodes = [
        make("Gather", ["words", "text"], ["vectors"]),
        make("Transpose", ["vectors"], ["first"], perm=[1, 0, 2]),  # (T, N, D)
        make("LSTM", ["first", "W", "R", "B"], ["states"], hidden_size=encoder.width),  # (T, 1, N, H)
        make("Squeeze", ["states", "direction"], ["left"]),
        make("Transpose", ["left"], ["rows"], perm=[1, 0, 2]),  # (N, T, H)
        make("Not", ["empty"], ["full"]),
        make("Cast", ["full"], ["there"], to=TensorProto.FLOAT),
        make("Unsqueeze", ["there", "middle"], ["mask"]),  # (N, 1, T)
        make("MatMul", ["mask", "rows"], ["sum"]),  # (N, 1, H)
        make("Squeeze", ["sum", "middle"], ["total"]),
        make("ReduceSum", ["there", "middle"], ["count"], keepdims=1),
        make("Div", ["total", "count"], ["mean"]),
        make("Gemm", ["mean", "weight", "bias"], ["logits"], transB=1),
    ]
    nodes.insert(5, make("Equal", ["text", "none"], ["empty"]))
    ports = [helper.make_tensor_value_info("text", TensorProto.INT64, ["batch", LENGTH])]
    ends = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", io.outputs[0].shape[0]])]
    constants = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "lstm", ports, ends, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def answers(path: Path, texts: np.ndarray) -> np.ndarray:
    """(N,) the label that the file gives to each text."""
    session = open_session(path, threads=1)
    return np.concatenate([session.run({"text": texts[start : start + MOST]})["logits"].argmax(1) for start in range(0, len(texts), MOST)])


def measure(data: Path, seed: int, *, passes: int, rounds: int) -> dict[str, Any]:
    """Each student trained with a seed: parameters, and of its two files test accuracy, bytes, milliseconds, and the ratio to the transformer's."""
    torch.set_num_threads(1)
    splits = {split: list(csv.DictReader((data / f"{split}.csv").open(encoding="utf-8"))) for split in ("train", "test")}
    names = sorted({row["category"] for row in splits["train"]})
    entries: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        vocabulary = learn_vocabulary([row["text"] for row in splits["train"]], folder / "tokenizer.json")
        texts = {split: tokenize(folder / "tokenizer.json", [row["text"] for row in rows], LENGTH) for split, rows in splits.items()}
        labels = {split: np.array([names.index(row["category"]) for row in rows]) for split, rows in splits.items()}
        io = IOSpec((Port("text", "int64", (LENGTH,), 0, vocabulary - 1),), (Port("logits", "float32", (len(names),)),))
        torch.manual_seed(seed)
        given, files = torch.from_numpy(texts["train"]), {}
        for name, model in candidates(io).items():
            train(model, given, torch.from_numpy(labels["train"]), rate=RATES[name], passes=passes, seed=seed)
            files |= {(name, form): path for form, path in write_files(name, model, io, given, folder).items()}
            with torch.no_grad():
                expected = model({"text": torch.from_numpy(texts["test"][:256])}).logits.argmax(1).numpy()
            assert (answers(files[name, "fp32"], texts["test"][:256]) == expected).mean() > 0.99, name
            entries[name] = {"parameters": count_parameters(model), "width": model.encoders["text"].width, "forms": {}}
        sessions = {key: open_session(path, threads=1) for key, path in files.items()}
        timings = time_calls(
            {"/".join(key): (lambda session=session: session.run({"text": texts["test"][:1]})) for key, session in sessions.items()},
            Effort(rounds, 50),
        )
        for (name, form), path in files.items():
            ns, reference = timings.ns[f"{name}/{form}"], timings.ns["transformer/fp32"]
            entries[name]["forms"][form] = {
                "accuracy": 100 * float((answers(path, texts["test"]) == labels["test"]).mean()),
                "size_bytes": path.stat().st_size,
                "latency": {**summarise(ns), "unit": "ms", "over_transformer": ratio_interval(ns, reference)},
            }
    settings = {"passes": passes, "rates": RATES, "length": LENGTH, "vocabulary": vocabulary, "test_rows": len(texts["test"])}
    about = origin(threads=1, libraries=("torch", "onnxruntime"))
    return {**about, "seed": seed, "settings": settings, "timing": timings.to_json(), "models": entries}


def tables(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Name of the markers -> table."""
    return {"lstm": table(results)}


def table(results: Sequence[dict[str, Any]]) -> str:
    """A line a file: accuracy over the seeds, and size and latency of the first one."""
    first, rows = results[0], []
    for name, entry in first["models"].items():
        for form, of in entry["forms"].items():
            accuracy = spread([result["models"][name]["forms"][form]["accuracy"] for result in results])
            ratio = of["latency"]["over_transformer"]
            told = f"{ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
            cells = [f"{entry['parameters']:,}", accuracy, f"{of['size_bytes'] / 1000:.0f}", f"{of['latency']['median_ms']:.3f}", told]
            rows.append([f"{name}, {form}", *cells])
    header = ("student", "parameters", "accuracy, %", "kB", "median, ms", "over the transformer's fp32")
    seeds, settings = ", ".join(str(result["seed"]) for result in results), first["settings"]
    told = f"{settings['test_rows']:,} test rows; {settings['passes']} passes; seeds {seeds}."
    return "\n\n".join([told, markdown_table(header, rows), origin_line(results, "onnxruntime")])


def main() -> None:
    """Measures, or prints or publishes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--banking77", type=Path, help="the folder with train.csv and test.csv")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--passes", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2000, help="timed calls of each file")
    parser.add_argument("--results", type=Path, default=RESULTS / "lstm")
    add_table_arguments(parser)
    args = parser.parse_args()
    if show_tables(args, lambda: tables(read_results(args.results))):
        return
    if args.banking77 is None:
        parser.error("give --banking77")
    for seed in args.seeds:
        write_result(args.results / f"{seed}.json", measure(args.banking77, seed, passes=args.passes, rounds=args.rounds))
        print(table(read_results(args.results)), flush=True)


if __name__ == "__main__":
    run_program(main)
