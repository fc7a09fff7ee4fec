"""The recipe that `compress init` writes: for the user's own images and texts, with every choice explained."""

from __future__ import annotations

from pathlib import Path

from compress.errors import CompressError

STARTER = """\
# A recipe of `compress`: from your rows to a small student in a bundle.
#   compress check FILE     says what is wrong with it, all at once
#   compress run FILE       runs it; every word that may stand here: compress schema
name: {name}
description: Answers questions about my images.
seed: 0

data:
  source: manifest            # your own files; `compress list datasets` shows the other sources
  options:
    train: train.csv          # CSV, JSONL or Parquet with the columns image, text and label; paths start from this file's folder
    test: test.csv            # never trained on; the report's figures come from it
    # validation: val.csv     # without it, a share of the training images is held out (validation_fraction)
    # image: file_name        # only where a column has another name than image, text, label
  image_size: 96              # pixels a side that the student sees; leave it out when there are no images
  text_length: 24             # tokens of a text; leave it out when there are no texts
  on_bad_row: error           # skip: count, report and leave out rows with broken images or empty texts
  # allow_unlabelled: true    # rows without a label train on the teacher alone

teacher:
  source: fit                 # pretrained encoders and a head fitted on your training rows; or folder, hub, weights
  image: {{model: efficientnet_lite2, options: {{size: 128}}}}
  text: {{model: minilm_l6}}

student:
  image: {{model: mobilenet_v4, options: {{width: 1.0}}}}   # 0.5: half the channels, about a quarter of the work
  text: {{layers: 2, width: 64, heads: 2, feedforward: 256}}

distill:
  losses:                     # `compress list losses` shows formulas and options
    - {{name: cross_entropy, weight: 1.0}}
    - {{name: kd, weight: 1.0, options: {{temperature: 4.0}}}}
  train: {{epochs: 30, batch_size: 128, learning_rate: 3.0e-3}}
  augment:
    views: 2
    flip: true                # leave views and flip out when left and right matter
    wordings: 16              # texts also in other words, which the teacher answers; leave it out when there are no texts

budget:                       # a run that misses a line ends with exit code 3, after the report
  max_drop_points: 2.0        # accuracy below the teacher's
  max_size_mb: 5.0
"""


def starter_text(name: str) -> str:
    """The commented recipe for a run of that name."""
    return STARTER.format(name=name)


def write_starter(file: Path, *, force: bool = False) -> None:
    """Writes the recipe, named after the file. Raises CompressError when the file is there (and not `force`) or cannot be written."""
    name = "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "_" for c in file.stem)[:64].lstrip("_.-") or "mine"
    try:
        with file.open("w" if force else "x", encoding="utf-8") as out:
            out.write(starter_text(name))
    except FileExistsError:
        raise CompressError(f"{file}: is there already; give another name, or --force to replace it") from None
    except OSError as error:
        raise CompressError(f"{file}: cannot be written: {error.strerror}") from error
