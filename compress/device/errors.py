"""What the device runner raises on purpose; `main` prints the message as one line and ends with the exit code.

DeviceError            1   a file, question, option or runtime that cannot be used here
+-- FileError          1   a user's file that gives no input
|   +-- ImageError     1   a file that is no image, or none that is read here
|   +-- AudioError     1   a file that is no sound, or none that is read here
+-- ManifestError      9   a bundle that does not verify: hashes, files, archive or signature
+-- GoldenError        7   a model that does not give the answers recorded in the bundle
"""

from __future__ import annotations


class DeviceError(Exception):
    """A file, question, option or runtime that cannot be used here."""

    exit_code = 1


class FileError(DeviceError):
    """A file gives no input; `reason` is one of a few, which rows of a data set are counted under, `detail` says more of this one."""

    kind = "file"  # what it should have been
    noun, way_out = "a file", "another one"  # the same in a sentence, and what to save it as

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


class ImageError(FileError):
    """A file gives no image."""

    kind = "image"
    noun, way_out = "an image", "PNG or JPEG"


class AudioError(FileError):
    """A file gives no sound."""

    kind = "audio"
    noun, way_out = "audio", "WAV or FLAC"


class ManifestError(DeviceError):
    """A bundle, its archive or its signature does not verify."""

    exit_code = 9


class GoldenError(DeviceError):
    """A model does not give the answers recorded in the bundle."""

    exit_code = 7
