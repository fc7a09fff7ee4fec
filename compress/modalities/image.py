"""Pictures: files of any size, kept as square uint8 pixels; a model reads raw pixels (H, W, 3) and does the arithmetic in its graph."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.device.image_file import open_image
from compress.errors import RecipeError
from compress.io_spec import Port
from compress.modalities.modality import Cell, Failures, Inputs, Modality
from compress.modalities.picture_sizes import picture_size
from compress.models.processors import FILES, read_processor

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor, nn

PIXELS = {  # mean and deviation of the three colours, shares of 255
    "bytes": ([0.0] * 3, [1 / 255] * 3),
    "unit": ([0.0] * 3, [1.0] * 3),
    "half": ([0.5] * 3, [0.5] * 3),
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "clip": ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]),
}
SHOWN_PIXELS = 128  # small images are enlarged by whole factors up to about this size
CAMERA, CAMERA_SIZE = "JPEG, 640 x 480", (640, 480)


class Image(Modality):
    """A cell is a path, or the content of an image file (binary, or a struct {bytes, path} as Hugging Face writes it)."""

    words = {
        "input": {
            "size": {"type": "int", "ge": 8, "le": 1024, "description": "Pixels a side of the images."},
            "resize": {
                "type": ["stretch", "crop", "pad"],
                "default": "stretch",
                "description": "stretch: proportions are lost; crop: the centre of the image; pad: all of it, on grey.",
            },
            "resampling": {
                "type": ["bilinear", "bicubic", "lanczos", "nearest"],
                "default": "bilinear",
                "description": "How pixels are resized; all but nearest are antialiased.",
            },
            "edge": {
                "type": "int",
                "default": None,
                "ge": 8,
                "le": 4096,
                "description": "Pixels of the shorter side (stretch: of both) before the centre is cut out; null: as size, so that nothing "
                "more is cut. As the teacher's own processor has it, such as 256 before a cut of 224.",
            },
        },
        "augment": {
            "flip": {
                "type": "bool",
                "default": False,
                "description": "Every second view is mirrored left to right; only where labels stay right, for all views are trained on.",
            },
            "shift": {
                "type": "int",
                "default": 0,
                "ge": 0,
                "le": 64,
                "description": "Views are moved by up to this many pixels each way (edges repeated), each image in its own way.",
            },
            "crop": {
                "type": "float",
                "default": 1.0,
                "gt": 0,
                "le": 1,
                "description": "Views show a random part of the image, of at least this share of its area, in its full size; 1: the whole.",
            },
            "rotate": {"type": "float", "default": 0.0, "ge": 0, "le": 180, "description": "Views are turned by up to this many degrees."},
            "colour": {
                "type": "float",
                "default": 0.0,
                "ge": 0,
                "le": 1,
                "description": "Brightness, contrast and saturation of views vary by up to this share.",
            },
            "sketch": {
                "type": "float",
                "default": 0.0,
                "ge": 0,
                "le": 1,
                "description": "Share of the pictures of a view that are shown as sketches, edges on white; for labels that shapes decide.",
            },
            "mixup": {
                "type": "float",
                "default": 0.0,
                "ge": 0,
                "le": 8,
                "description": "Students are trained on two images laid over each other, labels mixed in the same shares, drawn from "
                "Beta(mixup, mixup); 0: on single ones. Needs a live teacher, and images as the only input.",
            },
            "cutmix": {
                "type": "float",
                "default": 0.0,
                "ge": 0,
                "le": 8,
                "description": "As mixup, but a rectangle of one image is put into the other; with both, each makes half of the batches.",
            },
        },
        "feed": {
            "name": {"type": "str", "default": "pixel_values", "description": "The file's input."},
            "layout": {"type": ["nchw", "nhwc"], "default": "nchw", "description": "The order of its axes: batch, colour, height, width."},
            "pixels": {
                "type": ["bytes", "unit", "half", "imagenet", "clip"],
                "description": "bytes: 0 to 255; unit: 0 to 1; half: -1 to 1; imagenet, clip: as these models take them, 0 to 1 less a mean, "
                "over a deviation, colour by colour.",
            },
        },
        "student": {
            "initialise": {
                "type": ["pretrained", "teacher", "random"],
                "default": "random",
                "description": "pretrained: from the encoder's published weights, teacher: from the teacher's encoder of the same family; "
                "what a narrower or shallower student has room for is picked, and fitted on training images.",
            },
            "freeze": {
                "type": "int",
                "default": 0,
                "ge": 0,
                "le": 64,
                "description": "So many of the encoder's first blocks, and the stem before them, keep the weights that they start with: a "
                "step costs far less, for they read the most pixels, and few rows cannot spoil them. 0: all is trained.",
            },
        },
    }
    student = "mobilenet_v4"
    blank = "no image"
    pixels = True
    reads_files = True
    processor_files = FILES

    def column(self, column: pa.ChunkedArray, folder: Path, place: str) -> pa.ChunkedArray:
        """Paths that do not depend on the working directory, or file contents."""
        from compress.modalities.cells import file_column

        return file_column(column, folder, place)

    def store(self, inputs: Inputs, files: dict[str, Any], *, folder: Path, threads: int) -> Failures:
        """`file`.npy: (N, S, S, 3) uint8."""
        from compress.modalities.pixels import write_images

        forms = {folder / f"{file}.npy": {"height": words.size, "width": words.size, **_reading(words)} for file, words in files.items()}
        return write_images(inputs, forms, threads=threads)

    def keep(self, file: str, kept: np.ndarray, *, folder: Path, out: Path) -> None:
        """In blocks, so that images need not fit into memory."""
        from compress.store.arrays import keep_rows

        keep_rows(folder / f"{file}.npy", kept, out=out / f"{file}.npy")

    def near(self, stored: Sequence[Any], *, folder: Path) -> np.ndarray:
        """Pictures that were encoded again, resized, made a little brighter."""
        from compress.modalities.near_images import near_images

        return near_images(stored, folder)

    def sizes(self, inputs: Inputs, index: Sequence[int]) -> dict[str, list[float]]:
        """As headers have them, before a picture is turned as EXIF says."""
        found = [picture_size(inputs.value(i)) for i in index]
        return {"width, pixels": [float(width) for width, _ in found], "height, pixels": [float(height) for _, height in found]}

    def port(self, words: Any, model: Path | None) -> Port:
        """(H, W, 3) uint8."""
        return Port(self.name, "uint8", (words.size, words.size, 3), 0, 255, reading=_reading(words))

    def processor_words(self, folder: Path, given: dict[str, Any]) -> dict[str, Any]:
        """As its image processor has it, for images of given["size"] pixels a side where the recipe asks for that."""
        return read_processor(folder, size=given.get("size")).words

    def feed(self, words: Any, *, padding: int = 0) -> dict[str, list[tuple[str, Any]]]:
        """(pixel / 255 - mean) / deviation as float32."""
        mean, deviation = (np.asarray(side, np.float32) * 255 for side in PIXELS[words.pixels])
        turned = [("Transpose", (0, 3, 1, 2))] if words.layout == "nchw" else []
        return {words.name: [("Cast", "float32"), ("Sub", mean), ("Div", deviation), *turned]}

    def most_variants(self, words: Any) -> int | None:
        """Mirrored or not, where nothing else varies."""
        endless = words.shift or words.crop < 1 or words.rotate or words.colour or words.sketch
        return None if endless else 1 + words.flip

    def variant(self, words: Any, seed: int, number: int) -> tuple:
        """(seed, number, mirrored?, shift, crop, rotate, colour, sketch); every second variant is mirrored."""
        if not number:
            return ()
        return (seed, number, bool(words.flip and number % 2), words.shift, words.crop, words.rotate, words.colour, words.sketch)

    def vary(self, values: Tensor, variant: tuple, index: np.ndarray) -> Tensor:
        """values: (N, H, W, 3) uint8; pixels that a move brings in repeat the edge."""
        from compress.modalities.picture_views import vary_pictures

        return vary_pictures(values, variant, index) if variant else values

    def carry(self, labels: Tensor, variant: tuple, index: np.ndarray) -> Tensor:
        """labels: (N, S, S), of places of the pictures; colours and sketches leave them."""
        from compress.modalities.picture_views import carry_labels

        return carry_labels(labels, variant, index) if variant else labels

    def mixture(self, words: Any, draw: np.random.Generator) -> tuple:
        """(share,) lays pictures over each other, (share, across, down) cuts a rectangle out around that place, in shares of the sides."""
        cut = bool(words.cutmix) and (not words.mixup or draw.random() < 0.5)
        alpha = words.cutmix if cut else words.mixup
        if not alpha:
            return ()
        share = draw.beta(alpha, alpha)
        return (share, draw.random(), draw.random()) if cut else (share,)

    def mix(self, values: Tensor, partners: Tensor, mixture: tuple) -> tuple[Tensor, float]:
        """values, partners: (N, H, W, 3) uint8."""
        from compress.modalities.picture_views import cut_in, lay_over

        return cut_in(values, partners, *mixture) if len(mixture) > 1 else (lay_over(values, partners, *mixture), mixture[0])

    def check_start(
        self, section: Any, encoder: Callable[[], Any], teacher: Callable[[], nn.Module | None], folder: Callable[[], Path | None]
    ) -> None:
        """The teacher has an encoder of the student's family, and no smaller one; what is frozen has weights that are worth it."""
        from compress.models.inherit_image import check_inherit, first_parts

        if section.freeze:
            first_parts(encoder(), section.freeze)
        if section.freeze and section.initialise == "random":
            raise RecipeError("student.encoders.image.freeze: random weights would stay random; set it to 0, or initialise to pretrained")
        if section.initialise == "teacher" and (source := teacher()):
            check_inherit(encoder(), source)

    def initialise(self, encoder: nn.Module, section: Any, teacher: Path, known: dict, inputs: np.ndarray) -> dict:
        """Published weights or the teacher's, whole or picked; gives {"inherited_image": what was}."""
        from compress.models.inherit_image import start_image

        folder: Any = getattr(encoder, "folder", None)  # of weights whose own processor says how they read pixels
        processor = read_processor(folder) if folder else None
        colours = (processor.mean, processor.deviation) if processor else ()
        return {"inherited_image": start_image(encoder, section.initialise, teacher, inputs, colours)}

    def as_given(self, stored: Any, index: int, port: Port) -> dict[str, Any]:
        """A PNG of the size that the model reads, and a JPEG as a camera gives it."""
        from PIL import Image as Pillow

        picture = Pillow.fromarray(np.asarray(stored[index]))
        forms = {f"PNG, {picture.width} x {picture.height}": (picture, "PNG"), CAMERA: (picture.resize(CAMERA_SIZE), "JPEG")}
        return {form: _encoded(*how) for form, how in forms.items()}

    def show(self, stored: Any, index: int) -> str:
        """A PNG in the page itself; a small one is enlarged by a whole factor, so that its pixels stay sharp."""
        from PIL import Image as Pillow

        pixels = np.asarray(stored[index])  # (H, W, 3)
        factor = max(1, SHOWN_PIXELS // max(pixels.shape[:2]))
        content = _encoded(Pillow.fromarray(np.repeat(np.repeat(pixels, factor, axis=0), factor, axis=1)), "PNG", optimize=True)
        return f'<img alt="the input image" src="data:image/png;base64,{base64.b64encode(content).decode()}">'

    def as_cell(self, value: Any) -> Cell:
        """A PNG of the pixels alone: no EXIF, no profile, turned as a viewer shows it."""
        from PIL import Image as Pillow

        return Cell.file(_encoded(Pillow.fromarray(np.asarray(open_image(value))), "PNG"), ".png")


def _encoded(picture: Any, kind: str, **options: Any) -> bytes:
    """The content of a file of that kind."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def _reading(words: Any) -> dict[str, Any]:
    """How an image is brought to its size, for `fit` in compress/device/modalities/image.py, here and on the device."""
    if words.edge is not None and (words.edge < words.size or words.resize == "pad"):
        raise RecipeError(
            f"inputs.image: edge {words.edge} with size {words.size} and resize {words.resize}: the centre of `size` pixels is cut out of an "
            "image whose sides have `edge` or more, and nothing is cut out by pad; leave edge out, or raise it"
        )
    return {"resize": words.resize, "resampling": words.resampling, "edge": words.edge}
