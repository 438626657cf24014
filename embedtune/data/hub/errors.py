"""Turn what goes wrong between this machine and a hub into one sentence that says what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

from embedtune.core.errors import EmbedTuneError
from embedtune.data.hub.listing import RepositoryType

KEPT = "what has arrived is kept, and the next run goes on from there"
LOCAL = {"model": "write `name: local` and `path`", "dataset": "write `source: local` and `path`"}


@contextlib.contextmanager
def hub_errors(repository: str, repository_type: RepositoryType, revision: str) -> Iterator[None]:
    """Raise the errors of a download as EmbedTuneError that begin with repository and revision."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HTTPError

    page = f"{constants.ENDPOINT}/{'datasets/' if repository_type == 'dataset' else ''}{repository}"
    try:
        check_certificates()
        yield
    except EmbedTuneError as error:
        raise EmbedTuneError(f"{repository}@{revision}: {error}") from error
    except (HTTPError, OSError, ValueError) as error:
        raise EmbedTuneError(f"{repository}@{revision}: {_explained(error, repository_type, page)}") from error


def check_certificates() -> None:
    """Raise EmbedTuneError if SSL_CERT_FILE or SSL_CERT_DIR, which every connection reads, leads to no certificates."""
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        value = os.environ.get(variable)
        if not value:
            continue
        try:
            if variable == "SSL_CERT_FILE":
                ssl.create_default_context(cafile=value)
            else:
                next(Path(value).iterdir(), None)
        except OSError as error:  # ssl.SSLError is one
            raise EmbedTuneError(
                f"the environment variable {variable} is {value}, and no certificates can be read there "
                f"({error.strerror or error}); unset it, or set it to your certificates (PEM)"
            ) from error


def _explained(error: Exception, repository_type: RepositoryType, page: str) -> str:
    """Describe an exception of huggingface_hub, of its HTTP client or of the disk, and how to fix it."""
    from huggingface_hub import constants, errors

    hub = f"the hub at {constants.ENDPOINT}"
    mirror = "another mirror" if "HF_ENDPOINT" in os.environ else "a mirror"
    otherwise = f"set HF_ENDPOINT to {mirror}, or download it elsewhere and {LOCAL[repository_type]}"
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    said = next(iter(str(error).strip().splitlines()), "no details")
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
        return f"{hub} failed ({said}); try again later, or {otherwise}; {KEPT}"
    if isinstance(error, OSError) and error.errno is not None:
        return _of_the_disk(error)
    if isinstance(error, ValueError):
        return f"{hub} does not answer as a hub does ({said}); check HF_ENDPOINT, and the proxy if there is one"
    return (
        f"{hub} cannot be reached or broke off ({type(error).__name__}: {said}); check the network and the proxy, "
        f"{otherwise}; HF_HUB_OFFLINE=1 uses what Hugging Face's cache has; {KEPT}"
    )


def _of_the_disk(error: OSError) -> str:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    place = Path(str(error.filename)) if error.filename else cache
    if not place.is_relative_to(cache) and not cache.is_relative_to(place):  # such as the file of the token
        return f"{place}: {error.strerror}; make it readable and writable"
    mend = "make room there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "make it writable"
    return (
        f"{cache}: the cache cannot be written ({error.strerror}); {mend}, or set HF_HOME to a folder on another disk; "
        f"{KEPT}"
    )
