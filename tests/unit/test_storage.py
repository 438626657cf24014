"""What a disk refuses is said in one line, whichever library was writing, and what was there before stays."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from embedtune.core import cli, files, locks
from embedtune.core.arrays import create_array
from embedtune.core.errors import EmbedTuneError
from embedtune.training import checkpoints

VALUES = np.arange(200_000, dtype=np.float32)


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system refuses larger files (EFBIG), as `ulimit -f` makes it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_faiss(path: Path) -> None:
    index = faiss.IndexFlatIP(100)
    index.add(VALUES.reshape(-1, 100))
    faiss.write_index(index, str(path))


WRITERS: dict[str, Callable[[Path], Any]] = {
    "Python": lambda path: path.write_bytes(VALUES.tobytes()),
    "NumPy": lambda path: np.save(path.with_suffix(".npy"), VALUES),
    "a mapped array": lambda path: create_array(path, np.float32, VALUES.shape),
    "safetensors": lambda path: save_file({"values": torch.from_numpy(VALUES)}, str(path)),
    "FAISS": write_faiss,
    "Arrow": lambda path: pq.write_table(pa.table({"values": VALUES}), path),
    "pandas": lambda path: pd.DataFrame({"values": VALUES}).to_csv(path),
}


@pytest.mark.parametrize("library", WRITERS)
def test_a_file_that_the_system_refuses_is_one_line_from_every_library(tmp_path: Path, library: str) -> None:
    with files.atomic_directory(tmp_path / "out") as partial:
        (partial / "old").touch()
    with (
        pytest.raises(EmbedTuneError, match=r"file size|ulimit -f") as caught,
        files_of_at_most(100_000),
        files.atomic_directory(tmp_path / "out") as partial,
    ):
        WRITERS[library](partial / "file")
    assert str(caught.value).startswith(f"{tmp_path}/out: a file ") and "\n" not in str(caught.value)
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["out", "out/old"]


def test_a_checkpoint_that_the_system_refuses_is_one_line_and_the_one_before_stays(tmp_path: Path) -> None:
    checkpoints.write(tmp_path / "step-000001", lambda _: None, {"weights": torch.zeros(10)})
    with pytest.raises(EmbedTuneError, match="ulimit -f"), files_of_at_most(100_000):
        checkpoints.write(tmp_path / "step-000002", lambda _: None, {"weights": torch.from_numpy(VALUES)})
    assert checkpoints.last(tmp_path) == tmp_path / "step-000001"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EDQUOT, "your quota on this disk is used up"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "permission denied"),
        (errno.EPERM, "the system does not permit this"),
    ],
)
def test_a_program_ends_with_what_the_system_refuses_and_what_to_do(
    capsys: pytest.CaptureFixture[str], number: int, words: str
) -> None:
    def main() -> None:
        raise OSError(number, os.strerror(number), "data/corpus.jsonl")

    with pytest.raises(SystemExit) as caught:
        cli.run(main, again="start again")
    assert str(caught.value.code).startswith(f"error: {words} (data/corpus.jsonl); ")
    assert str(caught.value.code).endswith(", then start again")


def test_an_error_of_reading_names_the_file_that_was_read(tmp_path: Path) -> None:
    with pytest.raises(EmbedTuneError, match=r"^rows\.jsonl: permission denied; "), files.atomic_file(tmp_path / "out"):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "rows.jsonl")


def rename_between_file_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renaming to another folder fails, as between file systems."""
    rename = Path.rename

    def within_a_folder(self: Path, target: Path) -> Path:
        if self.parent != Path(target).parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", within_a_folder)


def directory(path: Path, name: str) -> Path:
    path.mkdir(parents=True)
    (path / name).write_text(name)
    return path


@pytest.mark.parametrize("there_before", [True, False])
def test_a_directory_moves_between_file_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there_before: bool
) -> None:
    source, target = directory(tmp_path / "checkpoints" / "run", "new"), tmp_path / "data" / "base"
    if there_before:
        directory(target, "old")
    rename_between_file_systems(monkeypatch)
    files.replace_directory(source, target)
    found = [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))]
    assert found == ["checkpoints", "data", "data/base", "data/base/new"]


def test_a_move_between_file_systems_that_finds_no_room_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = directory(tmp_path / "run", "new"), directory(tmp_path / "data" / "base", "old")
    (source / "large").write_bytes(VALUES.tobytes())
    rename_between_file_systems(monkeypatch)
    with pytest.raises(EmbedTuneError, match="ulimit -f"), files_of_at_most(100_000):
        files.replace_directory(source, target)
    found = [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))]
    assert found == ["data", "data/base", "data/base/old", "run", "run/large", "run/new"]


def test_what_a_kill_between_two_renames_left_aside_is_put_back(tmp_path: Path) -> None:
    directory(tmp_path / ".out.old.partial", "old")
    with pytest.raises(ZeroDivisionError), files.atomic_directory(tmp_path / "out"):
        raise ZeroDivisionError
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["out", "out/old"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_once_and_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    locks._say_without_locks.cache_clear()
    for _ in range(2):
        with files.atomic_file(tmp_path / "out") as partial:
            partial.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert capsys.readouterr().err == (
        f"this file system has no locks ({os.strerror(number)}); run the project only once at a time\n"
    )
