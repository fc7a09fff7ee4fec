"""Text to token ids, and a vocabulary trimmed to a task: both on a tokenizer.json, with the tokenizers library."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from compress.device.modalities.text import encode_words
from compress.errors import DataError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
OWN_TOKENS = 8000  # words of a vocabulary that is learnt from the training texts, at most
BLOCK = 4096  # texts tokenized at a time


def open_tokenizer(path: Path, length: int) -> Tokenizer:
    """The tokenizer, set to cut and pad to `length` tokens with its own padding id."""
    tokenizer = Tokenizer.from_file(str(path))
    padding = tokenizer.padding or {}
    token = padding.get("pad_token") or "[PAD]"
    number = tokenizer.token_to_id(token)
    if number is None:
        raise DataError(f"{path}: the tokenizer has no padding token {token!r}")
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=number, pad_token=token)
    return tokenizer


def padding_id(path: Path) -> int:
    """The id that fills short texts."""
    padding = open_tokenizer(path, 8).padding
    assert padding
    return int(padding["pad_id"])


def vocabulary(path: Path) -> dict[str, int]:
    """The tokens of a tokenizer.json with their ids, added ones included."""
    return Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=True)


def vocabulary_size(path: Path) -> int:
    """Number of tokens of a tokenizer.json, added ones included."""
    return len(vocabulary(path))


def tokenize(path: Path, texts: Sequence[str], length: int, *, words: bool = False) -> np.ndarray:
    """Token ids (M, length) int64 of M texts; `words`: negative where a word begins."""
    tokenizer = open_tokenizer(path, length)
    out = np.empty((len(texts), length), np.int64)
    if words:
        for row, text in enumerate(texts):
            out[row] = encode_words(tokenizer, str(text))[0]
        return out
    for start in range(0, len(texts), BLOCK):
        block = [str(text) for text in texts[start : start + BLOCK]]
        out[start : start + len(block)] = [encoding.ids for encoding in tokenizer.encode_batch(block)]
    return out


def unknown_rate(path: Path, texts: Iterable[str]) -> float:
    """Share of the tokens that the vocabulary does not know, special tokens left out."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    model = json.loads(tokenizer.to_str())["model"]
    unknown = model["unk_id"] if "unk_id" in model else tokenizer.token_to_id(model.get("unk_token") or "")  # the first is Unigram's
    ids = [n for e in tokenizer.encode_batch([str(t) for t in texts], add_special_tokens=False) for n in e.ids]
    return sum(n == unknown for n in ids) / max(1, len(ids))


def trim_vocabulary(path: Path, texts: Iterable[str], out: Path) -> list[int]:
    """Writes a tokenizer.json with only the tokens that a task needs; gives the old id of each new one.

    Kept: the tokens of `texts`, the special tokens, all single characters and their `##` forms, so that any word of known
    letters can still be spelled. The padding token becomes 0, which a student takes as padding; the others keep their order.
    Only WordPiece can be trimmed so: its tokens do not depend on merges.
    """
    described = read_wordpiece(path, needs="student.encoders.text.vocab: task trims", way_out="set vocab: own")
    model = described["model"]
    padding = padding_id(path)
    tokenizer = Tokenizer.from_str(json.dumps(described))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    used = {t for e in tokenizer.encode_batch([str(t) for t in texts]) for t in e.tokens}
    prefix = model.get("continuing_subword_prefix", "##")
    special = {*SPECIAL, model["unk_token"], *(token["content"] for token in described.get("added_tokens", []))}
    old = sorted(tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda item: (item[1] != padding, item[1]))
    kept = [(t, n) for t, n in old if n == padding or t in used or t in special or len(t.removeprefix(prefix)) == 1]
    numbers = {token: new for new, (token, _) in enumerate(kept)}
    model["vocab"] = {token: new for token, new in numbers.items() if token in model["vocab"]}
    renumber(described, numbers)
    out.write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")
    return [number for _, number in kept]


def learn_vocabulary(texts: Iterable[str], out: Path, *, size: int = OWN_TOKENS) -> int:
    """Writes the tokenizer.json of a WordPiece vocabulary of the words of `texts`, the `size` commonest; gives the number of its tokens.

    Letters are taken in lower case without accents, as by BERT's uncased models; the padding token is 0. Rare and new words are spelled:
    single characters and their `##` forms are there too. Tokenizers' own trainer finds parts of words as well, but others in every run,
    because it goes through a hash table.
    """
    from tokenizers import models, normalizers, pre_tokenizers, processors

    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    counts = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(str(text))))
    letters = sorted({letter for word in counts for letter in word})
    common = sorted(counts, key=lambda word: (-counts[word], word))[:size]
    tokens = dict.fromkeys([*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *common])
    number = {token: place for place, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(number, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", number["[SEP]"]), ("[CLS]", number["[CLS]"]))
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    tokenizer.save(str(out), pretty=False)
    return len(number)


def read_wordpiece(path: Path, *, needs: str, way_out: str) -> dict:
    """A tokenizer.json whose model is WordPiece, as data. Raises DataError for any other; `needs` and `way_out` make the sentence."""
    described = json.loads(path.read_text(encoding="utf-8"))
    kind = described["model"].get("type")
    if kind != "WordPiece":
        raise DataError(f"{path}: {needs} WordPiece vocabularies, this one is {kind}; {way_out}")
    return described


def renumber(described: dict, numbers: dict[str, int]) -> None:
    """Gives the special tokens their new ids wherever a tokenizer.json repeats them."""
    for token in described.get("added_tokens", []):
        token["id"] = numbers[token["content"]]
    processor = described.get("post_processor") or {}
    for special in (processor.get("special_tokens") or {}).values():
        special["ids"] = [numbers[t] for t in special["tokens"]]
    for place in ("sep", "cls"):
        if isinstance(processor.get(place), list):
            processor[place][1] = numbers[processor[place][0]]
    if described.get("padding"):
        described["padding"]["pad_id"] = numbers[described["padding"]["pad_token"]]
    described["truncation"] = None


def write_texts(path: Path, texts: pa.Array) -> None:
    """Writes (M,) strings as one batch of an Arrow file."""
    batch = pa.record_batch([texts], names=["text"])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def read_texts(path: Path) -> pa.Array:
    """What `write_texts` wrote, memory-mapped."""
    return pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0).column(0)
