"""The name of the scratch folder from which a killed run resumes: a hash of everything that its result depends on.

Two runs use the same folder only if their parameters, inputs, code and library versions are all equal. A run therefore
never resumes from a checkpoint of a different run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from embedtune.core.hashes import content_hash

LIBRARIES = (  # their versions can change what a model computes
    *("torch", "transformers", "tokenizers", "FlagEmbedding"),
    *("peft", "bitsandbytes"),  # of adapters; the latter on GPUs alone
)


def run_name(settings: str, inputs: Iterable[Path]) -> str:
    """A name of 12 hex digits that depends on the settings, the inputs and the versions of `LIBRARIES`.

    Each of `inputs` is a file or a directory. The hash covers paths and contents, except in __pycache__ directories.
    """
    digest = hashlib.sha256(settings.encode())
    digest.update(" ".join(f"{library}={_version(library)}" for library in LIBRARIES).encode())
    for path in inputs:
        digest.update(f"{path}\0{content_hash(path)}\0".encode())
    return digest.hexdigest()[:12]


def library_versions() -> dict[str, str]:
    """The versions of the LIBRARIES that every training uses, without the suffix of a build such as +cpu."""
    return {library: _version(library).partition("+")[0] for library in LIBRARIES[:4]}


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"
