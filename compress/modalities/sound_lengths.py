"""Which files are sounds, and how long they are, without decoding them."""

from __future__ import annotations

from compress.device.audio_file import MAX_BYTES, READ, SIGNATURES
from compress.device.errors import AudioError
from compress.device.plain_file import format_of, open_plain

SUFFIXES = frozenset(".wav .flac .ogg .oga .opus .mp3 .aif .aiff .m4a .aac .wma .amr".split())


def are_sounds(values: list[str] | list[bytes], *, most: float) -> bool:
    """Whether at least the share `most` of the first of these files begin as sounds do; no package is needed for that."""
    some, known = values[:20], 0
    for value in some:
        try:
            with open_plain(value, error=AudioError, most=MAX_BYTES) as file:
                format_of(file, SIGNATURES, read=READ, error=AudioError)
            known += 1
        except AudioError:
            continue
    return known >= most * len(some)
