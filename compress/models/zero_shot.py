"""Zero-shot classifiers: one tower of a dual encoder such as CLIP, whose labels are prompts that its text tower has read.

The prompts become the weights of a linear layer, once; what is left is an ordinary model, which is exported, looked into and inherited from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from compress.errors import DependencyError, RecipeError
from compress.io_spec import IOSpec, Outputs
from compress.models.classifier import Inputs, RowModel
from compress.models.layers import Pixels
from compress.models.pretrained import load_transformers

TOWERS = ("CLIPVisionModelWithProjection", "CLIPTextModelWithProjection")  # of transformers; each says which input it takes
BATCH = 64  # prompts a call
LEGACY_END = 2  # configurations that say so mean the highest token instead


class ZeroShot(RowModel):
    """logits (R, K) = scale * cos(what the tower makes of an input, what the text tower made of each label's prompts).

    The embedding (R, D) is the tower's output at length 1; the last layer (K, D) holds the labels' vectors times the scale.
    """

    def __init__(self, tower: Any, *, width: int, labels: int, mean: list[float], deviation: list[float]) -> None:
        super().__init__()
        self.tower = tower
        self.pixels = Pixels(tuple(mean), tuple(deviation))  # type: ignore[arg-type]
        self.output = nn.Linear(width, labels, bias=False)

    def classify(self, inputs: Inputs) -> Outputs:
        """Of the one input that the tower takes. Tokens behind a text's end change nothing, because each sees only those before it."""
        (given,) = inputs.values()
        seen = self.tower(self.pixels(given) if self.tower.main_input_name == "pixel_values" else given)[0]  # (R, D)
        embedding = seen / seen.norm(dim=1, keepdim=True)
        return Outputs(self.output(embedding), embedding)


def zero_shot(io: IOSpec, *, config_folder: str, width: int, mean: list[float], deviation: list[float]) -> nn.Module:
    """The architecture of a tower from its own config.json, with fresh weights."""
    kind = tower_for(io.modalities)
    return _around(kind(eager(kind.config_class.from_pretrained(config_folder))), io, width=width, mean=mean, deviation=deviation)


def tower_for(modalities: tuple[str, ...]) -> Any:
    """The class of the tower that reads these inputs. Raises RecipeError where none does."""
    kinds = [getattr(load_transformers(), name) for name in TOWERS]
    found = next((kind for kind in kinds if tuple(kind.input_modalities) == modalities), None)
    if found is None:
        there = " or ".join(" and ".join(kind.input_modalities) for kind in kinds)
        raise RecipeError(f"teacher: a dual encoder answers to {there} alone, not to {' and '.join(modalities)}; use another source")
    return found


def open_zero_shot(folder: Path, io: IOSpec, prompts: Sequence[Sequence[str]], *, mean: list[float], deviation: list[float]) -> ZeroShot:
    """The classifier of the dual encoder in a folder; prompts: several for each label, whose vectors are averaged.

    Raises: DependencyError for files that are missing or incomplete, RecipeError for a model that is no such encoder.
    """
    model = open_both(folder)
    config = model.config
    kind = tower_for(io.modalities)
    own = config.vision_config if kind.main_input_name == "pixel_values" else config.text_config
    own.projection_dim = config.projection_dim
    tower = kind(eager(own))
    state = model.state_dict()
    tower.load_state_dict({name: state[name] for name in tower.state_dict()})
    classifier = _around(tower, io, width=config.projection_dim, mean=mean, deviation=deviation)
    with torch.no_grad():
        classifier.output.weight.copy_(model.logit_scale.exp() * label_vectors(model, folder, prompts))
    return classifier.eval()


@torch.no_grad()
def label_vectors(model: Any, folder: Path, prompts: Sequence[Sequence[str]]) -> Tensor:
    """(K, D) of length 1: for each label the mean of its prompts' vectors, each brought to length 1 first (as by CLIP's authors)."""
    tokenizer, length = Tokenizer.from_file(str(folder / "tokenizer.json")), model.config.text_config.max_position_embeddings
    tokenizer.no_padding()
    tokenizer.enable_truncation(length)
    ids = [encoding.ids for some in prompts for encoding in tokenizer.encode_batch(list(some))]
    parts = []
    for start in range(0, len(ids), BATCH):
        block = ids[start : start + BATCH]
        longest = max(map(len, block))
        filled = torch.tensor([one + [one[-1]] * (longest - len(one)) for one in block])  # the end token again: nothing before it sees that
        vectors = model.text_projection(model.text_model(input_ids=filled).pooler_output)
        parts.append(vectors / vectors.norm(dim=1, keepdim=True))
    groups = torch.cat(parts).split([len(some) for some in prompts])
    means = torch.stack([group.mean(0) for group in groups])
    return means / means.norm(dim=1, keepdim=True)


def end_token(config: Any, tokenizer: Tokenizer) -> int:
    """The id of the token that ends a text of a dual encoder: what its tower reads a text's vector from."""
    end = int(config.text_config.eos_token_id)
    return tokenizer.get_vocab_size(with_added_tokens=True) - 1 if end == LEGACY_END else end


def eager(config: Any) -> Any:
    """The configuration, asking for plain attention."""
    config._attn_implementation = "eager"  # what the exporter takes: see TransformersTeacher
    return config


def open_both(folder: Path) -> Any:
    """The dual encoder in a local folder with both of its towers, in eval mode.

    Raises: DependencyError for files that are missing or incomplete, RecipeError for a model that is no such encoder.
    """
    from safetensors import SafetensorError

    dual_config(folder)
    settings = {"attn_implementation": "eager", "use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
    try:
        model, found = load_transformers().CLIPModel.from_pretrained(folder, **settings)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise _unloadable(folder, error) from error
    if absent := sorted(found["missing_keys"]):
        raise DependencyError(
            f"teacher: {folder}: the weights lack {len(absent)} of the model's parts, such as {absent[:3]}; save it whole"
        )
    return model.eval()


def dual_config(folder: Path) -> Any:
    """The configuration of the dual encoder in a local folder. Raises as `open_both` does."""
    try:
        config = load_transformers().AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise _unloadable(folder, error) from error
    if config.model_type != "clip":
        raise RecipeError(f"teacher: {folder} is a model of type {config.model_type}; of dual encoders those of type clip are built")
    return config


def _unloadable(folder: Path, error: Exception) -> DependencyError:
    return DependencyError(
        f"teacher: cannot load {folder}: {str(error).splitlines()[0]}; a folder needs config.json, model.safetensors and tokenizer.json"
    )


def _around(tower: Any, io: IOSpec, *, width: int, mean: list[float], deviation: list[float]) -> ZeroShot:
    return ZeroShot(tower, width=width, labels=io.outputs[0].shape[0], mean=mean, deviation=deviation)
