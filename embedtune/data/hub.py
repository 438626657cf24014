"""Download files of a Hugging Face repository at one revision and verify them against the hub's checksums.

Downloads go to Hugging Face's own cache, which other programs use too. They come by plain HTTP in pieces of 10 MB into
a partial file there. A later run resumes an interrupted download, even after `kill -9`. `hf_hub_download` does
neither: as of huggingface_hub 2.4 it starts over in each run, and it requires Xet wherever the hub offers it, although
many mirrors behind HF_ENDPOINT lack it. It is therefore called last, to register the complete file in the cache.

huggingface_hub reads these environment variables when it is first imported: HF_ENDPOINT (a mirror), HF_TOKEN, HF_HOME.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from embedtune.core.errors import EmbedTuneError

if TYPE_CHECKING:  # functions import it when they need it: the import takes a quarter of a second
    from huggingface_hub.hf_api import RepoFile

LISTING_TIMEOUT = 10.0  # seconds; huggingface_hub's default is to wait forever
KEPT = "what has arrived is kept, and the next run goes on from there"

MODEL_FILES = re.compile(
    r"config\.json|modules\.json|config_sentence_transformers\.json|sentence_[\w-]+_config\.json|\d+_\w+/config\.json"
    r"|tokenizer[\w.]*\.json|special_tokens_map\.json|added_tokens\.json|vocab\.(txt|json)|merges\.txt|[^/]+\.model"
)


def fetch_files(
    repository: str,
    repository_type: Literal["dataset", "model"],
    revision: str,
    choose: Callable[[list[str]], list[str]],
    target: Path,
) -> str:
    """Copy the files that `choose` selects from the repository's sorted file names into the empty directory `target`.

    `revision` is a branch, a tag or a commit hash. Returns the commit hash that it resolves to. Raises EmbedTuneError,
    naming repository and revision, when the hub cannot be reached or refuses access, when there is no such repository
    or revision, when the cache cannot be written, when a file does not match the hub's checksum, and when `choose`
    raises EmbedTuneError. An OSError from writing into `target` is passed on unchanged.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    with _hub_errors(repository, repository_type, revision):
        api = HfApi()
        commit = api.repo_info(repository, repo_type=repository_type, revision=revision, timeout=LISTING_TIMEOUT).sha
        if not commit:
            raise ValueError("no commit hash in the answer")
        tree = api.list_repo_tree(repository, recursive=True, revision=commit, repo_type=repository_type)
        files = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
        chosen = choose(sorted(files))
    for name in chosen:
        with _hub_errors(repository, repository_type, revision):
            cached = _cached_file(repository, repository_type, commit, files[name])
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(cached, target / name)
    return commit


def choose_model_files(names: list[str]) -> list[str]:
    """Select the files of an encoder: configuration, tokenizer, sentence-transformers modules, weights.

    The weights are those that transformers would load: safetensors rather than PyTorch's .bin, a single file rather
    than shards with their index, never ONNX, OpenVINO, TensorFlow or Flax. Raises EmbedTuneError without a config.json
    or weights.
    """
    weights = _weights(names, "")
    if "config.json" not in names:
        raise EmbedTuneError("no config.json; choose a repository that holds a transformers model")
    if not weights:
        raise EmbedTuneError(
            "no model.safetensors or pytorch_model.bin, whole or in shards; choose a repository with PyTorch weights"
        )
    modules = sorted({name.split("/")[0] + "/" for name in names if re.fullmatch(r"\d+_\w+/config\.json", name)})
    module_weights = [name for module in modules for name in _weights(names, module)]
    return sorted([name for name in names if MODEL_FILES.fullmatch(name)] + weights + module_weights)


def _weights(names: list[str], folder: str) -> list[str]:
    for stem, suffix in [("model", "safetensors"), ("pytorch_model", "bin")]:
        index = f"{folder}{stem}.{suffix}.index.json"
        if f"{folder}{stem}.{suffix}" in names:
            return [f"{folder}{stem}.{suffix}"]
        if index in names:
            shard = re.compile(rf"{re.escape(folder)}[^/]+-\d+-of-\d+\.{suffix}")
            return [index] + [name for name in names if shard.fullmatch(name)]
    return []


def choose_mldr_files(language: str) -> Callable[[list[str]], list[str]]:
    """A `choose` function for `fetch_files` that selects the four files of one language of MLDR.

    That function raises EmbedTuneError if one of them is missing.
    """

    def choose(names: list[str]) -> list[str]:
        wanted = [f"mldr-v1.0-{language}/{part}.jsonl.gz" for part in ("train", "dev", "test", "corpus")]
        missing = [name for name in wanted if name not in names]
        if missing:
            found = sorted({match[1] for name in names if (match := re.match(r"mldr-v1\.0-([^/]+)/corpus\.", name))})
            there = f"there is MLDR in {', '.join(found)}" if found else "the repository holds no MLDR corpus at all"
            raise EmbedTuneError(f"no {', '.join(missing)}; {there}: choose another language or revision")
        return wanted

    return choose


def checksum(path: Path, like: str) -> str:
    """The hex checksum of a file, of the same kind as `like`: SHA-256 (64 digits, LFS) or git's blob SHA-1 (40)."""
    started = hashlib.sha256() if len(like) == 64 else hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: started).hexdigest()


def _cached_file(repository: str, repository_type: str, commit: str, file: RepoFile) -> Path:
    """Download the missing part of a file, verify its checksum, and return its path in Hugging Face's cache."""
    from huggingface_hub import constants, hf_hub_download, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.file_download import repo_folder_name

    name = file.path
    digest = file.lfs.sha256 if file.lfs else file.blob_id
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", digest):  # the digest becomes a file name
        raise ValueError(f"{name} has the checksum {digest!r}")
    storage = repo_folder_name(repo_id=repository, repo_type=repository_type)
    blob = Path(constants.HF_HUB_CACHE) / storage / "blobs" / digest
    known = try_to_load_from_cache(repository, name, revision=commit, repo_type=repository_type)
    if not isinstance(known, str) and not blob.exists():
        blob.parent.mkdir(parents=True, exist_ok=True)
        partial = blob.with_name(f"{digest}.embedtune.incomplete")
        _complete(partial, hf_hub_url(repository, name, repo_type=repository_type, revision=commit), name, file.size)
        partial.replace(blob)
    cached = Path(hf_hub_download(repository, name, repo_type=repository_type, revision=commit))
    if (found := checksum(cached, like=digest)) != digest:
        cached.resolve().unlink()
        cached.unlink(missing_ok=True)
        raise EmbedTuneError(
            f"{name} has the checksum {found}, and the hub at {constants.ENDPOINT} lists {digest}: it was damaged on "
            "its way or on the disk; it is deleted from the cache, run again to download it anew"
        )
    return cached


def _complete(partial: Path, url: str, name: str, size: int) -> None:
    """Append the missing part of the `size` bytes at `url` to `partial`. A broken connection is retried 5 times."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    with partial.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EmbedTuneError(f"another process is downloading {name}; wait for it, then run again") from error
        if file.tell() > size:
            file.truncate(0)
            file.seek(0)
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}  # ranges refer to the file, not to a gzip of it
        http_get(url, file, resume_size=file.tell(), headers=headers, expected_size=size, displayed_filename=name)


@contextlib.contextmanager
def _hub_errors(repository: str, repository_type: str, revision: str) -> Iterator[None]:
    from huggingface_hub import constants
    from huggingface_hub.errors import HTTPError

    page = f"{constants.ENDPOINT}/{'datasets/' if repository_type == 'dataset' else ''}{repository}"
    try:
        yield
    except EmbedTuneError as error:
        raise EmbedTuneError(f"{repository}@{revision}: {error}") from error
    except (HTTPError, OSError, ValueError, KeyError) as error:
        raise EmbedTuneError(f"{repository}@{revision}: {_explained(error, repository_type, page)}") from error


def _explained(error: Exception, repository_type: str, page: str) -> str:
    """Describe an exception of huggingface_hub, of its HTTP client or of the disk, and how to fix it."""
    from huggingface_hub import constants, errors

    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    hub = f"the hub at {constants.ENDPOINT}"
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    said = next(iter(str(error).strip().splitlines()), "no details")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, which forbids downloads; unset it, or use local files"
    if isinstance(error, errors.HFValidationError):
        return f"not a repository's name; write it as owner/name ({said})"
    if isinstance(error, errors.GatedRepoError):
        return f"access must be asked for; do so at {page}, then set HF_TOKEN to a token of that account"
    if status in (401, 403):
        return (
            f"{hub} refuses access ({status}); check the name, and if the {repository_type} is private or gated, "
            "set HF_TOKEN to a token that may read it"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"no such revision; name a branch, a tag or a whole commit hash from {page}/commits/main"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{hub} has no such {repository_type}; check the name, and if it is private, set HF_TOKEN"
    if status is not None:
        return f"{hub} failed ({said}); try again later, or set HF_ENDPOINT to a mirror; {KEPT}"
    if isinstance(error, OSError) and error.errno is not None:
        mend = "make room there" if error.errno == errno.ENOSPC else "make it writable"
        return (
            f"{constants.HF_HUB_CACHE}: the cache cannot be written ({error.strerror}); {mend}, or set HF_HOME to a "
            f"folder on another disk; {KEPT}"
        )
    if isinstance(error, (ValueError, KeyError)):
        return f"{hub} does not answer as a hub does ({said}); check HF_ENDPOINT, and the proxy if there is one"
    return (
        f"{hub} cannot be reached or broke off ({type(error).__name__}: {said}); check the network and the proxy, or "
        f"set HF_ENDPOINT to a mirror; {KEPT}"
    )
