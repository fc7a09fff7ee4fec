"""What `compress init` writes where it has seen no files: an example of a recipe for the user's own rows, with every choice explained."""

from __future__ import annotations

from pathlib import Path

from compress.errors import CompressError

STARTER = """\
# A recipe of `compress`: from your rows to a small student in a bundle.
#   compress init FILE --train train.csv --test test.csv     writes one for your own files instead of this example
#   compress check FILE     says what is wrong with it, all at once
#   compress run FILE       runs it; every word that may stand here: compress schema
name: {name}
description: Answers questions about my images.
seed: 0

data:
  source: manifest            # your own files; `compress list datasets` shows the other sources
  options:
    train: train.csv          # CSV, JSONL or Parquet; paths start from this file's folder
    test: test.csv            # never trained on; the report's figures come from it
    # validation: val.csv     # without it, a share of the training images is held out (validation_fraction)
    columns: {{image: image, text: text, label: label}}   # your own names of these columns
  inputs:
    image: {{size: 96}}         # pixels a side that the student sees; leave it out when there are no images
    text: {{length: 24}}        # tokens of a text; leave it out when there are no texts
  on_bad_row: error           # skip: count, report and leave out rows with broken images or empty texts
  # allow_unlabelled: true    # rows without a label train on the teacher alone

teacher:
  source: fit                 # pretrained encoders and a head fitted on your training rows; or folder, hub, weights
  encoders:
    image: {{model: efficientnet_lite2, options: {{size: 128}}}}
    text: {{model: minilm_l6}}

student:
  encoders:
    image: {{model: mobilenet_v4, options: {{width: 1.0}}}}   # 0.5: half the channels, about a quarter of the work
    text: {{options: {{layers: 2, width: 64, heads: 2, feedforward: 256}}}}

distill:
  losses:                     # `compress list losses` shows formulas and options
    - {{name: cross_entropy, weight: 1.0}}
    - {{name: kd, weight: 1.0, options: {{temperature: 4.0}}}}
  train: {{epochs: 30, min_steps: 600, batch_size: 128, learning_rate: 3.0e-3}}   # small sets: smaller batches, more passes
  augment:
    views: 2
    image: {{flip: true}}       # leave views and flip out when left and right matter
    text: {{wordings: 16}}      # texts also in other words, which the teacher answers; leave it out when there are no texts

budget:                       # a run that misses a line ends with exit code 3, after the report
  max_drop_points: 2.0        # accuracy below the teacher's
  max_size_mb: 5.0
"""


def starter_text(name: str) -> str:
    """The commented example for a run of that name."""
    return STARTER.format(name=name)


def run_name(file: Path) -> str:
    """A run's name from that of the recipe: what a folder may be called."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "_" for c in file.stem)[:64].lstrip("_.-") or "mine"


def check_free(file: Path, *, force: bool) -> None:
    """Raises CompressError when the file is there already, and not `force`."""
    if file.exists() and not force:
        raise CompressError(f"{file}: is there already; give another name, or --force to replace it")


def write_recipe(file: Path, text: str, *, force: bool = False) -> None:
    """Writes the recipe. Raises CompressError when the file is there (and not `force`) or cannot be written."""
    check_free(file, force=force)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CompressError(f"{file}: cannot be written: {error.strerror}") from error
