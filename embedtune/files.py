"""Writing so that a file is whole or absent, and reading JSON Lines with errors that name the line.

An output is written beside its place under a `.partial` name and renamed when complete: a full disk, a kill or an
error never leaves half a file where a whole one is expected. A lock on the partial output keeps out a second writer,
such as the stage that a killed `dvc` left running.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gzip
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import orjson

from embedtune.errors import EmbedTuneError


@contextlib.contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """Yield an empty directory to write into; on success it replaces `path`, on failure it is removed.

    Raises EmbedTuneError when another process is writing the same output, or the disk is full.
    """
    with _partial(path) as partial:
        _remove(partial)
        partial.mkdir()
        yield partial
        _remove(path)
        partial.rename(path)


def replace_directory(source: Path, target: Path) -> None:
    """Move the directory `source` to `target`, in place of what is there; both on one file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove(target)
    source.rename(target)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; on success that file replaces `path`, on failure it is removed.

    Raises EmbedTuneError when another process is writing the same output, or the disk is full.
    """
    with _partial(path) as partial:
        _remove(partial)
        yield partial
        partial.replace(path)


@contextlib.contextmanager
def _partial(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with locked(path):
        try:
            yield partial
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise EmbedTuneError(
                    f"{path}: the disk is full ({_free_gb(path):.1f} GB free); make room and run `dvc repro` again, "
                    "nothing half-written was kept"
                ) from error
            raise
        finally:
            _remove(partial)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from writing `path`. Raises EmbedTuneError when one is at it."""
    lock_path = path.with_name(f".{path.name}.lock")
    with lock_path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not lock_path.exists() or not os.path.samestat(os.fstat(lock.fileno()), lock_path.stat()):
                raise BlockingIOError("the file of the lock was replaced")
        except BlockingIOError as error:
            lock.seek(0)
            raise EmbedTuneError(
                f"{path}: process {lock.read().strip() or '(unknown)'} is still writing it; "
                "wait for that process to end, or kill it, then run `dvc repro` again"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            yield
        finally:
            lock_path.unlink(missing_ok=True)  # still locked: a waiting writer has failed by now, it never blocks


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _free_gb(path: Path) -> float:
    return shutil.disk_usage(path.parent).free / 1e9


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON that ends in a newline, whole or not at all. NaN and infinity are refused.

    Floats are rounded to six digits after the point: enough for any measure, and the same bytes on every run.
    """
    with whole_file(path) as partial:
        text = json.dumps(_rounded(value), indent=2, ensure_ascii=False, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return round(value, 6) if isinstance(value, float) else value


def json_line(row: dict[str, Any]) -> bytes:
    """One row of a JSON Lines file: UTF-8, not escaped, newline at the end."""
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write `rows` one JSON object a line, whole or not at all; gzipped if `path` ends in .gz."""
    with whole_file(path) as partial, open_binary_writer(partial, compress=path.suffix == ".gz") as file:
        file.writelines(json_line(row) for row in rows)


@contextlib.contextmanager
def open_binary_writer(path: Path, compress: bool) -> Iterator[IO[bytes]]:
    """Open `path` for binary writing; `compress` makes a gzip file whose bytes depend on its content alone."""
    with path.open("wb") as file:
        if not compress:
            yield file
            return
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as zipped:
            yield cast(IO[bytes], zipped)


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises EmbedTuneError if it is missing or broken."""
    try:
        return orjson.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise EmbedTuneError(f"{path}: no such file; run `dvc repro` to make it") from error
    except orjson.JSONDecodeError as error:
        raise EmbedTuneError(f"{path}: not valid JSON ({error})") from error


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON Lines file that embedtune wrote itself. Raises EmbedTuneError at the first broken line."""
    for line_number, line in read_lines(path):
        try:
            yield orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise EmbedTuneError(f"{path}:{line_number}: {json_problem(line, error)}") from error


def json_problem(line: bytes, error: orjson.JSONDecodeError) -> str:
    """What is wrong with a line that is no JSON."""
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return "not UTF-8 text; save the file as UTF-8"
    return f"not valid JSON ({error.msg.split(':')[0]}, column {error.colno})"


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The non-blank lines of a file, plain or gzipped by its first bytes, with their 1-based numbers.

    A byte order mark at the start, as Windows editors write it, is left out.

    Raises EmbedTuneError if the file is missing, or its gzip stream is broken or cut short.
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
