"""Files of the Hugging Face hub, through its own client and in its own cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from archlang.compiler.diagnostics import ArchError, error

from .download import LARGEST, too_large, verify


def fetch(repository: str, file: str, revision: str | None = None, sha256: str | None = None) -> Path:
    """A file of a repository. Raises A1108 when it can't be had, A1109 when it is another than was published."""
    shown = f"hub:{repository}/{file}"
    try:
        import huggingface_hub as client
    except ImportError:
        raise error(
            "A1108",
            f"{shown} needs the package huggingface_hub, and it is not installed",
            help="`pip install huggingface_hub`, or fetch the file and give its path",
        ) from None
    try:
        path = Path(_fetched(client, shown, repository, file, revision, known=sha256 is not None))
    except ArchError:
        raise
    except Exception as failure:  # its classes change from version to version, and so do those of what it rests on
        reason = (str(failure).strip().splitlines() or [type(failure).__name__])[0][:300]
        raise error(
            "A1108",
            f"{shown} can't be fetched: {reason}",
            help="check the name; log in with `hf auth login` for what is private or gated; without a network, fetch "
            "the file elsewhere and give its path",
        ) from None
    if sha256 is not None:
        verify(path, sha256, shown)
    return path


def _fetched(client: Any, shown: str, repository: str, file: str, revision: str | None, *, known: bool) -> str:
    """The path in the cache; what is `known` by its checksum is taken from there without asking for a newer one."""
    cached = client.try_to_load_from_cache(repository, file, revision=revision)
    if isinstance(cached, str):
        if known:
            return cached
    elif not client.constants.HF_HUB_OFFLINE:
        size = client.get_hf_file_metadata(client.hf_hub_url(repository, file, revision=revision)).size
        if size is not None and size > LARGEST:
            raise too_large(shown, LARGEST)
    found: str = client.hf_hub_download(repository, file, revision=revision)
    return found
