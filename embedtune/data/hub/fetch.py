"""Download files of a Hugging Face repository at one revision and verify them against the hub's checksums.

Downloads go to Hugging Face's own cache, which other programs use too. A later run resumes an interrupted download.
With HF_HUB_OFFLINE=1 the cache alone is read.

huggingface_hub reads these environment variables when it is first imported: HF_ENDPOINT (a mirror), HF_TOKEN, HF_HOME.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from embedtune.core import cli, locks
from embedtune.core.errors import EmbedTuneError
from embedtune.data.hub import cache
from embedtune.data.hub.download import complete
from embedtune.data.hub.errors import LOCAL, hub_errors
from embedtune.data.hub.listing import HubFile, RepositoryType, list_files, resolve_commit

OFFLINE = "HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set"

Choose = Callable[[list[str]], list[str]]


def fetch_files(repository: str, repository_type: RepositoryType, revision: str, choose: Choose, target: Path) -> str:
    """Copy the files that `choose` selects from the repository's sorted file names into the empty directory `target`.

    `revision` is a branch, a tag or a commit hash. Returns the commit hash that it resolves to; offline, the one that
    it resolved to when it was last fetched. Raises EmbedTuneError, naming repository and revision, when the hub cannot
    be reached or refuses access, when there is no such repository or revision, when the cache cannot be written or,
    offline, lacks a file, when a file does not match the hub's checksum, and when `choose` raises EmbedTuneError. An
    OSError from writing into `target` is passed on unchanged.
    """
    from huggingface_hub import is_offline_mode

    find = _cached if is_offline_mode() else _downloaded
    commit, found = find(repository, repository_type, revision, choose)
    for name, path in found.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / name)
    return commit


def _downloaded(
    repository: str, repository_type: RepositoryType, revision: str, choose: Choose
) -> tuple[str, dict[str, Path]]:
    """The commit, and the chosen files in the cache, where they are put if they are not there yet."""
    with hub_errors(repository, repository_type, revision):
        commit = resolve_commit(repository, repository_type, revision)
        files = list_files(repository, repository_type, commit)
        chosen = choose(sorted(files))
        found = {name: _fetched(repository, repository_type, commit, files[name]) for name in chosen}
        cache.note_revision(cache.storage(repository, repository_type), revision, commit)
    return commit, found


def _fetched(repository: str, repository_type: RepositoryType, commit: str, file: HubFile) -> Path:
    """The path of a file in the cache. What of it is missing is downloaded, and its checksum verified."""
    from huggingface_hub import hf_hub_url, try_to_load_from_cache

    known = try_to_load_from_cache(repository, file.path, revision=commit, repo_type=repository_type)
    if isinstance(known, str):
        _verify(Path(known), file.path, file.checksum)
        return Path(known)
    folder = cache.storage(repository, repository_type)
    blob = folder / "blobs" / file.checksum
    partial = blob.with_name(f"{file.checksum}.embedtune.incomplete")
    blob.parent.mkdir(parents=True, exist_ok=True)
    with _only_download(partial, file.path):
        if blob.exists():
            _verify(blob, file.path, file.checksum)
        else:
            url = hf_hub_url(repository, file.path, repo_type=repository_type, revision=commit)
            complete(partial, url, file.path, file.size)
            _verify(partial, file.path, file.checksum)
            partial.replace(blob)
        return cache.enter(folder, commit, file.path, blob)


@contextlib.contextmanager
def _only_download(partial: Path, name: str) -> Iterator[None]:
    """Keep other processes from the partial file until it is verified and has its final name."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locks.locked(partial))
        except EmbedTuneError as error:
            raise EmbedTuneError(f"another process is downloading {name} ({error})") from error
        yield


def _verify(path: Path, name: str, expected: str) -> None:
    """Raise EmbedTuneError and delete the file if it does not have the checksum that the hub lists."""
    from huggingface_hub import constants

    if (found := cache.checksum(path, like=expected)) != expected:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise EmbedTuneError(
            f"{name} has the checksum {found}, and the hub at {constants.ENDPOINT} lists {expected}: it was damaged on "
            "its way or on the disk; it is deleted from the cache, run again to download it anew"
        )


def _cached(
    repository: str, repository_type: RepositoryType, revision: str, choose: Choose
) -> tuple[str, dict[str, Path]]:
    """The commit, and the chosen files, as the cache has them; nothing is asked of the hub."""
    from huggingface_hub.utils import validate_repo_id

    with hub_errors(repository, repository_type, revision):
        validate_repo_id(repository)
        folder = cache.storage(repository, repository_type)
        commit = cache.noted_commit(folder, revision)
        names = cache.cached_files(repository, repository_type, folder, commit) if commit else []
        if not commit or not names:
            raise EmbedTuneError(
                f"{OFFLINE}, and {folder} has no files of this revision; unset it, fetch the files before "
                f"with `hf download`, or {LOCAL[repository_type]}"
            )
        try:
            chosen = choose(names)
        except EmbedTuneError as error:
            raise EmbedTuneError(f"{OFFLINE}, and of the files in {folder}: {error}") from error
        found = {name: cache.snapshot_file(folder, commit, name) for name in chosen}
        missing = [name for name, path in found.items() if not path.is_file()]
        if missing:
            raise EmbedTuneError(
                f"{OFFLINE}, and {folder} lacks {', '.join(missing)}; unset it, or fetch them before with `hf download`"
            )
        for name, path in found.items():
            if known := cache.known_checksum(path):
                _verify(path, name, known)
    cli.say(
        f"{OFFLINE}: {repository} is read from {folder}, commit {commit}, {len(found)} files; whether the "
        "hub has more, or a newer commit, was not asked"
    )
    return commit, found
