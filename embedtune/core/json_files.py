"""JSON and JSON Lines: atomic writing, and reading with errors that name the file and the line."""

from __future__ import annotations

import contextlib
import gzip
import json
import math
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import orjson

from embedtune.core.errors import EmbedTuneError
from embedtune.core.files import atomic_file

SIGNIFICANT, MOST_DECIMALS = 6, 12  # digits that a small number keeps, and decimal places at most


def write_json(path: Path, value: Any) -> None:
    """Write `value` atomically as indented UTF-8 JSON that ends in a newline.

    Floats are rounded by `rounded`, which is enough for any measure and gives the same bytes on every run. Raises
    ValueError for NaN and infinity.
    """
    with atomic_file(path) as partial:
        text = json.dumps(_rounded(value), indent=2, ensure_ascii=False, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")


def rounded(number: float, decimals: int = 6) -> float:
    """`number` to `decimals` places; a number below 0.1 keeps six significant digits, so that 2e-07 does not become 0.

    What is below 1e-12 becomes 0: it is the rounding error of a sum.
    """
    return round(number, decimals_kept(number, decimals))


def decimals_kept(number: float, decimals: int = 6) -> int:
    """The decimal places that `rounded` keeps of a number."""
    if not number or not math.isfinite(number):
        return decimals
    return max(decimals, min(MOST_DECIMALS, SIGNIFICANT - 1 - math.floor(math.log10(abs(number)))))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return rounded(value) if isinstance(value, float) else value


def json_line(row: dict[str, Any]) -> bytes:
    """One row of a JSON Lines file: UTF-8 without escapes of non-ASCII characters, with a newline at the end."""
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write `rows` atomically, one JSON object per line; gzipped if `path` ends in .gz."""
    with atomic_file(path) as partial, open_binary_writer(partial, compress=path.suffix == ".gz") as file:
        file.writelines(json_line(row) for row in rows)


@contextlib.contextmanager
def open_binary_writer(path: Path, compress: bool) -> Iterator[IO[bytes]]:
    """Open `path` for binary writing. `compress` makes a gzip file whose bytes depend on its content alone."""
    with path.open("wb") as file:
        if not compress:
            yield file
            return
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as zipped:
            yield cast(IO[bytes], zipped)


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises EmbedTuneError if the file is missing or not valid JSON."""
    try:
        return orjson.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise EmbedTuneError(f"{path}: no such file; make it first") from error
    except orjson.JSONDecodeError as error:
        raise EmbedTuneError(f"{path}: not valid JSON ({error})") from error


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises EmbedTuneError as `read_json` does, and for another kind of value."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise EmbedTuneError(f"{path}: expected a JSON object {{...}}, got {str(value)[:40]}")
    return value


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON Lines file that embedtune wrote. Raises EmbedTuneError at the first line that is not JSON."""
    for line_number, line in read_lines(path):
        try:
            yield orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise EmbedTuneError(f"{path}:{line_number}: {json_problem(line, error)}") from error


def json_problem(line: bytes, error: orjson.JSONDecodeError) -> str:
    """Describe why `line` is not JSON: its encoding, or the syntax error with its column."""
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return "not UTF-8 text; save the file as UTF-8"
    return f"not valid JSON ({error.msg.split(':')[0]}, column {error.colno})"


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The non-blank lines of a file, with their numbers from 1. The first bytes tell whether the file is gzipped.

    A byte order mark at the start, as Windows editors write it, is left out. Raises EmbedTuneError if the file is
    missing or a directory, or if its gzip stream is broken or truncated.
    """
    line_number = 0
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if zipped else raw
            for line in file:
                line_number += 1
                if line_number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if line.strip():
                    yield line_number, line
    except (FileNotFoundError, IsADirectoryError) as error:
        raise EmbedTuneError(f"{path}: no such file") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise EmbedTuneError(
            f"{path}:{line_number + 1}: broken gzip stream after line {line_number} ({error}); "
            "fetch or compress the file again"
        ) from error
