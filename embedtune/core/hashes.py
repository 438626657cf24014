"""A hash of a file's or a directory's content, by which files that belong together know each other."""

from __future__ import annotations

import hashlib
from pathlib import Path


def content_hash(path: Path) -> str:
    """32 hex digits of the SHA-256 of a file, or of a directory's files with their names in it.

    Raises FileNotFoundError if there is nothing at `path`.
    """
    if path.is_dir():
        digest = hashlib.sha256()
        for file in sorted(found for found in path.rglob("*") if found.is_file() and "__pycache__" not in found.parts):
            digest.update(f"{file.relative_to(path).as_posix()}\0{content_hash(file)}\0".encode())
        return digest.hexdigest()[:32]
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:32]
