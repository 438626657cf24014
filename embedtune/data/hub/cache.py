"""Hugging Face's cache, which other programs use too, in the layout that huggingface_hub documents.

<HF_HUB_CACHE>/models--owner--name/blobs/<checksum>             a file's bytes
                                   snapshots/<commit>/<path>    a link to them
                                   refs/<branch>                the commit that the branch stood for
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path, PurePosixPath

from embedtune.data.hub.listing import CHECKSUM, COMMIT, RepositoryType


def storage(repository: str, repository_type: RepositoryType) -> Path:
    """The repository's folder in the cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"{repository_type}s--{repository.replace('/', '--')}"


def checksum(path: Path, like: str) -> str:
    """The hex checksum of a file, of the same kind as `like`: SHA-256 (64 digits, LFS) or git's blob SHA-1 (40)."""
    started = hashlib.sha256() if len(like) == 64 else hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: started).hexdigest()


def snapshot_file(folder: Path, commit: str, name: str) -> Path:
    """The path of a file at a commit in the repository's folder, whether it is there or not."""
    return folder / "snapshots" / commit / name


def enter(folder: Path, commit: str, name: str, blob: Path) -> Path:
    """Make the downloaded `blob` the file `name` of the commit, for every program that reads the cache.

    Returns its path. Where the file system has no symbolic links, the blob itself is moved there.
    """
    entry = snapshot_file(folder, commit, name)
    entry.parent.mkdir(parents=True, exist_ok=True)
    link = entry.with_name(f"{entry.name}.{os.getpid()}.embedtune")
    try:
        link.symlink_to(os.path.relpath(blob, entry.parent))
    except OSError:
        blob.replace(entry)
    else:
        link.replace(entry)
    return entry


def note_revision(folder: Path, revision: str, commit: str) -> None:
    """Keep which commit a branch or tag stood for, so that it is found without the hub. A failure changes nothing."""
    path = _reference(folder, revision)
    if COMMIT.fullmatch(revision) or path is None:
        return
    with contextlib.suppress(OSError):  # such as a cache that others filled and that is read-only
        if not path.is_file() or path.read_text(encoding="utf-8") != commit:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name}.{os.getpid()}.embedtune")
            partial.write_text(commit, encoding="utf-8")
            partial.replace(path)


def noted_commit(folder: Path, revision: str) -> str | None:
    """The commit that the revision stood for when it was last asked for; None if the cache does not know."""
    if COMMIT.fullmatch(revision):
        return revision
    path = _reference(folder, revision)
    try:
        commit = path.read_text(encoding="utf-8").strip() if path else ""
    except (OSError, ValueError):
        return None
    return commit if COMMIT.fullmatch(commit) else None


def _reference(folder: Path, revision: str) -> Path | None:
    """Where the cache keeps a branch's commit; None for a name that would lead out of that place."""
    parts = PurePosixPath(revision)
    return None if parts.is_absolute() or ".." in parts.parts else folder / "refs" / revision


def cached_files(repository: str, repository_type: RepositoryType, folder: Path, commit: str) -> list[str]:
    """The names of the repository's files at a commit, sorted, as far as the cache knows them.

    All of them if huggingface_hub kept the listing (`hf download` does), otherwise those that are in the cache.
    """
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        listing = get_cached_repo_tree(repository, revision=commit, repo_type=repository_type)
        return sorted(file.path for file in listing)
    except CachedRepoTreeNotFoundError:
        root = folder / "snapshots" / commit
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def known_checksum(cached: Path) -> str | None:
    """The checksum that a cached file had when it was downloaded, which is the name of its blob; None without one."""
    name = cached.resolve().name
    return name if cached.is_symlink() and CHECKSUM.fullmatch(name) else None
