"""Models of the Hugging Face hub, at one commit: downloaded once, then read from the local cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compress.errors import DependencyError

WHOLE = ("*.json", "*.safetensors", "*.txt", "*.py", "spiece.model")


def fetch(model: str, revision: str, *, files: Sequence[str] = WHOLE) -> Path:
    """The folder of a hub model at one commit with its `files` (patterns): downloaded, or without a network as it was downloaded before."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError, LocalEntryNotFoundError

    try:
        try:
            HfApi().model_info(model, revision=revision, timeout=10)  # asks once, where snapshot_download retries for half a minute
            return Path(snapshot_download(model, revision=revision, allow_patterns=list(files)))
        except (HTTPError, OSError) as error:
            try:
                return Path(snapshot_download(model, revision=revision, local_files_only=True))
            except LocalEntryNotFoundError:
                raise error from None
    except (HTTPError, OSError, HFValidationError) as error:
        raise DependencyError(
            f"teacher.id: cannot fetch {model!r} at {revision}: {str(error).splitlines()[0]}; "
            "check the network and the id, or fetch it elsewhere and use source: folder"
        ) from error
