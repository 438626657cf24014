"""List a repository's files at one commit, with the hub's checksums.

The hub's answers are read here rather than by HfApi, for two reasons. HfApi sends the token to any address that a
page of a listing names as the next one. And it reads answers of any size, and fails on malformed ones with whatever
Python makes of them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import quote, urljoin, urlsplit

from pydantic import BaseModel, NonNegativeInt, TypeAdapter, ValidationError

TIMEOUT = 10.0  # seconds for one answer; huggingface_hub's default is to wait forever
MAX_ANSWER_BYTES = 64 * 2**20  # a page of a listing has 1,000 files in about 300 kB
MAX_ERROR_BYTES = 2**20
MAX_FILES = 1_000_000
CHECKSUM = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")  # git's SHA-1 or SHA-256 (LFS)
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

RepositoryType = Literal["dataset", "model"]


@dataclass(frozen=True)
class HubFile:
    """A file in a listing: its path in the repository, its bytes, and its SHA-256 (LFS) or git blob SHA-1 in hex."""

    path: str
    size: int
    checksum: str


class _Lfs(BaseModel):
    oid: str
    size: NonNegativeInt


class _Entry(BaseModel):
    type: str
    path: str
    oid: str | None = None
    size: NonNegativeInt | None = None
    lfs: _Lfs | None = None


_PAGE = TypeAdapter(list[_Entry])


def resolve_commit(repository: str, repository_type: RepositoryType, revision: str) -> str:
    """The commit hash of a branch, a tag or a commit.

    Raises huggingface_hub's errors, and ValueError for an odd answer. A name that is no repository's raises
    HFValidationError before anything is asked.
    """
    from huggingface_hub.utils import validate_repo_id

    validate_repo_id(repository)
    answer, _ = _json(f"{_address(repository, repository_type)}/revision/{quote(revision, safe='')}")
    commit = answer.get("sha") if isinstance(answer, dict) else None
    if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
        raise ValueError("no commit hash in the answer")
    return commit


def list_files(repository: str, repository_type: RepositoryType, commit: str) -> dict[str, HubFile]:
    """Path -> file, of all files at the commit. Raises huggingface_hub's errors, and ValueError for an odd answer."""
    first = f"{_address(repository, repository_type)}/tree/{commit}?recursive=true&expand=false"
    files: dict[str, HubFile] = {}
    seen: set[str] = set()
    url: str | None = first
    while url is not None:
        page, following = _json(url)
        entries = _entries(page)
        if following and seen.issuperset(entry.path for entry in entries):
            raise ValueError("a listing that never ends")
        seen.update(entry.path for entry in entries)
        files |= {entry.path: _file(entry) for entry in entries if entry.type == "file"}
        url = urljoin(url, following) if following else None
        if len(seen) > MAX_FILES:
            raise ValueError(f"a listing of more than {MAX_FILES:,} files")
    return files


def _entries(page: Any) -> list[_Entry]:
    try:
        return _PAGE.validate_python(page, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the listing"
        raise ValueError(f"{where}: {first['msg']}") from error


def _file(entry: _Entry) -> HubFile:
    size, checksum = (entry.lfs.size, entry.lfs.oid) if entry.lfs else (entry.size, entry.oid)
    path = PurePosixPath(entry.path)
    if path.is_absolute() or ".." in path.parts or str(path) != entry.path or "\\" in entry.path:
        raise ValueError(f"a file with the path {entry.path!r}")
    if checksum is None or not CHECKSUM.fullmatch(checksum):  # it becomes a file name
        raise ValueError(f"{entry.path} has the checksum {checksum!r}")
    if size is None:
        raise ValueError(f"{entry.path} has no size")
    return HubFile(entry.path, size, checksum)


def _address(repository: str, repository_type: RepositoryType) -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/api/{repository_type}s/{repository}"


def _json(url: str) -> tuple[Any, str | None]:
    """The JSON at `url`, and the address of the next page if the answer names one.

    The token goes to the hub's own address alone. A listing that goes on elsewhere is read there without it.
    """
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import build_hf_headers

    own = origin(url) == origin(constants.ENDPOINT)
    headers = build_hf_headers() if own else build_hf_headers(token=False)
    with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT) as response:
        raise_for_status(response)
        body = bytearray()
        for piece in response.iter_bytes(chunk_size=2**20):
            body += piece
            if len(body) > MAX_ANSWER_BYTES:
                raise ValueError(f"an answer of more than {MAX_ANSWER_BYTES // 2**20} MiB to {url}")
        following = response.links.get("next", {}).get("url")
    try:
        return json.loads(body), following
    except RecursionError as error:
        raise ValueError(f"an answer of lists in lists without end to {url}") from error


def raise_for_status(response: Any) -> None:
    """Raise huggingface_hub's error for an answer that is one. Of what the answer says the first part is read."""
    from huggingface_hub import hf_raise_for_status

    if response.is_error:
        body = bytearray()
        for piece in response.iter_raw(chunk_size=2**16):
            body += piece
            if len(body) >= MAX_ERROR_BYTES:
                break
        cut = {"headers": response.headers, "content": bytes(body), "request": response.request}
        response = type(response)(response.status_code, **cut)
    hf_raise_for_status(response)


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of an address. Raises ValueError if it is none."""
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", parts.port or default
