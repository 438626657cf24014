"""Download a file by plain HTTP into a partial file, from which a later run goes on, even after `kill -9`.

huggingface_hub's own download does not do: as of 2.4 it starts over in each run, it requires Xet wherever the hub
offers it, although many mirrors behind HF_ENDPOINT lack it, it refuses a mirror that sends no X-Repo-Commit header,
and it reads a body without end to no end.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO, Any

from embedtune.core import progress
from embedtune.data.hub.listing import raise_for_status

PIECE = 10 * 2**20  # bytes that are written at once
RETRIES = 5  # of connections in a row that brought nothing
BUSY = (408, 429)  # status codes after which huggingface_hub waits and asks again


def complete(partial: Path, url: str, name: str, size: int) -> None:
    """Append the missing part of the `size` bytes at `url` to `partial`, and never more than that.

    A connection that breaks is taken up again. The token goes to the hub and, as with every HTTP client, to no other
    host that the hub redirects to. Raises huggingface_hub's errors and those of its HTTP client, and OSError from
    writing.
    """
    from huggingface_hub.errors import HfHubHTTPError, HTTPError
    from huggingface_hub.utils import build_hf_headers

    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}  # ranges refer to the file, not to a gzip of it
    with partial.open("ab") as file:
        if file.tell() > size:
            _empty(file)
        bar = progress.bar(desc=name[-40:], total=size, initial=file.tell(), unit="B", unit_scale=True)
        retries = RETRIES
        with bar:
            while (before := file.tell()) < size:
                broke: HTTPError | None = None
                try:
                    _append(file, url, size, headers, bar)
                except HfHubHTTPError:  # an answer, which will be the same next time
                    raise
                except HTTPError as error:
                    broke = error
                if file.tell() < size:
                    retries = RETRIES if file.tell() > before else retries - 1
                    if retries < 0:
                        raise broke or ValueError(f"{name} ends after {file.tell()} of {size} bytes")
                    time.sleep(1)


def _append(file: IO[bytes], url: str, size: int, headers: dict[str, str], bar: Any) -> None:
    from huggingface_hub import constants
    from huggingface_hub.utils import http_stream_backoff

    start = file.tell()
    if start:
        headers = {**headers, "Range": f"bytes={start}-"}
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with http_stream_backoff(
        "GET", url, headers=headers, timeout=timeout, retry_on_exceptions=(), retry_on_status_codes=BUSY
    ) as response:
        raise_for_status(response)
        if start and response.status_code == 200:  # the server sends the whole file
            _empty(file)
            bar.reset(total=size)
        for piece in response.iter_bytes(chunk_size=min(PIECE, size - file.tell())):
            piece = piece[: size - file.tell()]
            file.write(piece)
            bar.update(len(piece))
            if file.tell() == size:
                return


def _empty(file: IO[bytes]) -> None:
    file.seek(0)
    file.truncate()
