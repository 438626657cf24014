"""The name of the scratch folder from which a killed run resumes: a hash of everything that its result depends on.

Two runs use the same folder only if their parameters, inputs, code and library versions are all equal. A run therefore
never resumes from a checkpoint of a different run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("torch", "transformers", "tokenizers")  # their versions can change what a model computes


def run_name(settings: str, inputs: Iterable[Path]) -> str:
    """A name of 12 hex digits that depends on the settings, the inputs and the versions of `LIBRARIES`.

    Each of `inputs` is a file or a directory. The hash covers paths and contents, except in __pycache__ directories.
    """
    digest = hashlib.sha256(settings.encode())
    digest.update(" ".join(f"{library}={version(library)}" for library in LIBRARIES).encode())
    for root in inputs:
        for path in [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file()):
            if "__pycache__" in path.parts:
                continue
            with path.open("rb") as file:
                digest.update(f"{path}\0".encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]
