"""Generative teachers: how likely a language model finds each label as the answer to a prompt, with or without an image.

What stands before the answer, image and all, is read once; its keys and values are then shared by all labels.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compress.errors import DependencyError, RecipeError
from compress.models.pretrained import load_transformers
from compress.placement import CPU, move
from compress.recipe.cost import CHUNK

AUTO = {False: ("AutoModelForCausalLM", "AutoTokenizer"), True: ("AutoModelForImageTextToText", "AutoProcessor")}  # by whether it sees


class Scorer:
    """A model of transformers with what reads its inputs: a tokenizer, or a processor of images and texts."""

    def __init__(self, model: Any, reader: Any, labels: Sequence[str], *, device: str = CPU) -> None:
        self.model, self.reader = model.to(device).eval(), reader
        self.tokenizer = getattr(reader, "tokenizer", reader)
        self.chat = bool(getattr(reader, "chat_template", None))
        self.labels = self.spell(labels)

    def spell(self, labels: Sequence[str]) -> list[list[int]]:
        """The tokens of each label as an answer: behind a space, or as a message of its own where the model chats.

        Raises: RecipeError with the labels for which it has no tokens.
        """
        found = [self._spelt(label) for label in labels]
        unknown = self.tokenizer.unk_token_id
        bad = [label for label, ids in zip(labels, found, strict=True) if not ids or unknown in ids]
        if bad:
            raise RecipeError(
                f"teacher.labels: {len(bad)} of {len(labels)} labels cannot be spelt with the model's tokens, such as {bad[:5]}; "
                "give them other words there"
            )
        same = [label for i, label in enumerate(labels) if found.index(found[i]) < i]
        if same:
            raise RecipeError(f"teacher.labels: {same[:5]} are spelt as other labels are; give them other words there")
        return found

    def _spelt(self, label: str) -> list[int]:
        def ids(words: str) -> list[int]:
            return list(self.tokenizer(words, add_special_tokens=False)["input_ids"])

        before, both = ids("answer"), ids(f"answer {label}")
        return both[len(before) :] if not self.chat and both[: len(before)] == before else ids(label)

    def encode(self, prompt: str, image: np.ndarray | None = None) -> dict[str, Tensor]:
        """What the model reads before the answer; image: (H, W, 3) uint8. Through the chat template where the model has one."""
        if self.chat:
            seen = [{"type": "image"}] if image is not None else []
            content = [*seen, {"type": "text", "text": prompt}] if self.reader is not self.tokenizer else prompt
            message = [{"role": "user", "content": content}]
            prompt = self.reader.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        elif image is not None and self.reader.image_token not in prompt:
            prompt = f"{self.reader.image_token}\n{prompt}"
        given = {"images": image} if image is not None else {}
        return dict(self.reader(text=prompt, return_tensors="pt", add_special_tokens=not self.chat, **given))

    @torch.no_grad()
    def score(self, prompt: str, image: np.ndarray | None = None) -> np.ndarray:
        """(K,) float32: mean over a label's tokens of log p(token | prompt, image, the tokens before it).

        The mean, and not the sum, so that long labels are not unlikely for their length alone.
        """
        inputs = move(self.encode(prompt, image), str(self.model.device))
        read = self.model(**inputs, use_cache=True)
        first = read.logits[0, -1].float().log_softmax(0)  # (V,)
        return np.concatenate([self._chunk(read, first, self.labels[i : i + CHUNK]) for i in range(0, len(self.labels), CHUNK)])

    def _chunk(self, read: Any, first: Tensor, labels: list[list[int]]) -> np.ndarray:
        lengths = torch.tensor([len(ids) for ids in labels], device=first.device)
        longest = int(lengths.max())
        padded = torch.tensor(
            [ids + [ids[-1]] * (longest - len(ids)) for ids in labels], device=first.device
        )  # (k, L); nothing sees the filling
        log_p = first[padded[:, :1]]  # (k, 1)
        if longest > 1:
            cache = copy.deepcopy(read.past_key_values)
            cache.batch_repeat_interleave(len(labels))
            logits = self.model(input_ids=padded[:, :-1], past_key_values=cache, use_cache=True).logits.float()  # (k, L - 1, V)
            log_p = torch.cat([log_p, logits.log_softmax(2).gather(2, padded[:, 1:, None])[..., 0]], 1)
        there = torch.arange(longest, device=first.device) < lengths[:, None]
        return ((log_p * there).sum(1) / lengths).cpu().numpy()


def open_scorer(folder: Path, labels: Sequence[str], *, sees: bool, device: str = CPU) -> Scorer:
    """The model in a folder, in float32. Raises: DependencyError for files that are missing or incomplete, RecipeError for another kind of model."""
    from safetensors import SafetensorError

    if not (folder / "config.json").is_file():
        raise DependencyError(f"teacher: {folder} has no config.json; give the folder that save_pretrained wrote")
    transformers = load_transformers()
    model_class, reader_class = (getattr(transformers, name) for name in AUTO[sees])
    try:
        reader = reader_class.from_pretrained(folder)
        model, found = model_class.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True)
    except (OSError, RuntimeError, SafetensorError, ImportError) as error:
        raise DependencyError(
            f"teacher: cannot load {folder}: {str(error).splitlines()[0]}; a folder needs what save_pretrained writes of model and "
            f"{'processor' if sees else 'tokenizer'}"
        ) from error
    except ValueError as error:
        raise RecipeError(f"teacher: {folder} is no model that {AUTO[sees][0]} reads: {str(error).splitlines()[0]}") from error
    if absent := sorted(found["missing_keys"]):
        raise DependencyError(
            f"teacher: {folder}: the weights lack {len(absent)} of the model's parts, such as {absent[:3]}; save it whole"
        )
    return Scorer(model, reader, labels, device=device)
