"""An output is whole or absent, whatever happens to its writer; broken inputs are named by file and line."""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from embedtune.core import files, json_files, locks
from embedtune.core.errors import SHOWN_PROBLEMS, EmbedTuneError, Problems

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from embedtune.core import files

kind, path = sys.argv[1], Path(sys.argv[2])
with (files.atomic_directory if kind == "directory" else files.atomic_file)(path) as partial:
    (partial / "half" if kind == "directory" else partial).write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""

Writer = Callable[[Path], AbstractContextManager[Path]]


def write(kind: str, partial: Path, text: str) -> None:
    (partial / "content" if kind == "directory" else partial).write_text(text, encoding="utf-8")


def content(kind: str, path: Path) -> str | None:
    file = path / "content" if kind == "directory" else path
    return file.read_text(encoding="utf-8") if file.exists() else None


@pytest.fixture(params=["file", "directory"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def whole(kind: str) -> Writer:
    return files.atomic_directory if kind == "directory" else files.atomic_file


def write_half(kind: str, whole: Writer, path: Path, error: Exception) -> None:
    with whole(path) as partial:
        write(kind, partial, "half")
        raise error


@contextlib.contextmanager
def another_process_writing(kind: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, kind, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_whole_output_replaces_the_old_one_and_leaves_nothing_beside_it(
    tmp_path: Path, kind: str, whole: Writer
) -> None:
    path = tmp_path / "deeper" / "out"
    for text in ("old", "new"):
        with whole(path) as partial:
            write(kind, partial, text)
            assert content(kind, path) != text
        assert content(kind, path) == text
    assert [entry.name for entry in path.parent.iterdir()] == ["out"]


def test_a_new_directory_keeps_no_file_of_the_old_one(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with files.atomic_directory(tmp_path / "out") as partial:
            (partial / name).write_text(name)
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["second"]


def test_an_exception_keeps_the_old_output_and_leaves_no_new_one(tmp_path: Path, kind: str, whole: Writer) -> None:
    path = tmp_path / "out"
    with pytest.raises(ZeroDivisionError):
        write_half(kind, whole, path, ZeroDivisionError())
    assert list(tmp_path.iterdir()) == []

    with whole(path) as partial:
        write(kind, partial, "old")
    with pytest.raises(ZeroDivisionError):
        write_half(kind, whole, path, ZeroDivisionError())
    assert content(kind, path) == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_second_writer_is_refused_and_told_whose_process_writes(tmp_path: Path, kind: str, whole: Writer) -> None:
    path = tmp_path / "out"
    with another_process_writing(kind, path) as process:
        with pytest.raises(EmbedTuneError) as caught, whole(path):
            pytest.fail("two writers at once")
        assert str(caught.value) == (
            f"{path}: process {process.pid} is still writing it; "
            "wait for that process to end, or kill it, then run it again"
        )
        partial = tmp_path / ".out.partial"
        assert (partial / "half" if kind == "directory" else partial).read_text() == "half"  # the first is unharmed


def test_a_killed_writer_leaves_no_output_and_the_next_one_succeeds(tmp_path: Path, kind: str, whole: Writer) -> None:
    path = tmp_path / "out"
    with another_process_writing(kind, path) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not path.exists()
        with whole(path) as partial:
            assert kind == "file" or list(partial.iterdir()) == []
            write(kind, partial, "new")
    assert content(kind, path) == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_the_old_output_alone(tmp_path: Path, kind: str, whole: Writer) -> None:
    path = tmp_path / "out"
    with whole(path) as partial:
        write(kind, partial, "old")
    with another_process_writing(kind, path) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert content(kind, path) == "old"


@pytest.mark.parametrize("third_begins", ["after the second", "before the second"])
def test_writers_that_begin_just_as_another_ends_never_write_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, third_begins: str
) -> None:
    path = tmp_path / "out"
    lock = locks.fcntl.flock
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second, contextlib.ExitStack() as third:
        first.enter_context(files.atomic_file(path)).write_text("first")

        def lock_once_the_first_has_ended(*arguments: Any) -> None:
            monkeypatch.setattr(locks.fcntl, "flock", lock)
            first.close()
            if third_begins == "before the second":
                third.enter_context(files.atomic_file(path)).write_text("third")
            lock(*arguments)

        monkeypatch.setattr(locks.fcntl, "flock", lock_once_the_first_has_ended)
        refused = 0
        for writer in (second, third)[: 1 if third_begins == "before the second" else 2]:
            try:
                writer.enter_context(files.atomic_file(path)).write_text("another")
            except EmbedTuneError:
                refused += 1
        assert refused == 1


def test_a_full_disk_is_named_and_nothing_half_written_is_kept(tmp_path: Path, kind: str, whole: Writer) -> None:
    path = tmp_path / "out"
    with whole(path) as partial:
        write(kind, partial, "old")
    with pytest.raises(EmbedTuneError) as caught:
        write_half(kind, whole, path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert re.sub(r"\d+\.\d GB", "1.0 GB", str(caught.value)) == (
        f"{path}: the disk is full (1.0 GB free); make room and run it again, nothing half-written was kept"
    )
    assert content(kind, path) == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_a_write_that_the_disk_refuses_is_named(tmp_path: Path, name: str) -> None:
    def fill_the_disk() -> None:
        with files.atomic_file(tmp_path / name) as partial:
            partial.symlink_to("/dev/full")
            with json_files.open_binary_writer(partial, compress=name.endswith(".gz")) as file:
                file.writelines(json_files.json_line({"number": i}) for i in range(1000))

    with pytest.raises(EmbedTuneError, match="the disk is full"):
        fill_the_disk()
    assert list(tmp_path.iterdir()) == []
    assert Path("/dev/full").exists()


def test_other_errors_of_the_system_pass_through(tmp_path: Path, whole: Writer) -> None:
    with pytest.raises(OSError, match="no such device"), whole(tmp_path / "out"):
        raise OSError(errno.ENODEV, "no such device")


ROWS = [{"text": "一行"}, {"text": 'two\n"2"'}, {"number": 3}]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_rows_are_read_as_they_were_written(tmp_path: Path, name: str) -> None:
    json_files.write_json_lines(tmp_path / name, ROWS)
    assert list(json_files.read_json_lines(tmp_path / name)) == ROWS
    assert (tmp_path / name).read_bytes().startswith(b"\x1f\x8b") == name.endswith(".gz")


def test_rows_are_unescaped_lines(tmp_path: Path) -> None:
    json_files.write_json_lines(tmp_path / "rows.jsonl", ROWS)
    assert (tmp_path / "rows.jsonl").read_text(encoding="utf-8").split("\n")[0] == '{"text":"一行"}'


def test_a_failing_source_of_rows_leaves_no_file(tmp_path: Path) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield ROWS[0]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        json_files.write_json_lines(tmp_path / "rows.jsonl", rows())
    assert list(tmp_path.iterdir()) == []


def test_gzip_bytes_depend_on_the_content_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    json_files.write_json_lines(tmp_path / "now.jsonl.gz", ROWS)
    monkeypatch.setattr("time.time", lambda: 1e9)
    json_files.write_json_lines(tmp_path / "then.jsonl.gz", ROWS)
    header = (tmp_path / "now.jsonl.gz").read_bytes()[:10]
    assert (tmp_path / "now.jsonl.gz").read_bytes() == (tmp_path / "then.jsonl.gz").read_bytes()
    assert header[3:8] == bytes(5)  # no file name, no time


def test_lines_are_numbered_in_the_file_and_blank_ones_left_out(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b"one\n\n  \r\nfour\r\nfive")
    assert list(json_files.read_lines(tmp_path / "lines")) == [(1, b"one\n"), (4, b"four\r\n"), (5, b"five")]


def test_gzip_is_told_by_its_bytes_and_not_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "packed.jsonl").write_bytes(gzip.compress(b"one\ntwo\n"))
    (tmp_path / "plain.jsonl.gz").write_bytes(b"one\ntwo\n")
    for name in ("packed.jsonl", "plain.jsonl.gz"):
        assert list(json_files.read_lines(tmp_path / name)) == [(1, b"one\n"), (2, b"two\n")]


def test_gzip_of_several_members_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "lines.gz").write_bytes(gzip.compress(b"one\n") + gzip.compress(b"two\n"))
    assert [line for _, line in json_files.read_lines(tmp_path / "lines.gz")] == [b"one\n", b"two\n"]


BREAKS: dict[str, Callable[[bytes], bytes]] = {
    "cut in its trailer": lambda packed: packed[:-5],
    "cut in the middle": lambda packed: packed[: len(packed) // 2],
    "cut in its header": lambda packed: packed[:6],
    "wrong check sum": lambda packed: packed[:-8] + bytes(4) + packed[-4:],
    "wrong data": lambda packed: packed[:200] + b"\xff" * 40 + packed[240:],
    "something after its end": lambda packed: packed + b"<html>",
}


@pytest.mark.parametrize("damage", BREAKS.values(), ids=BREAKS)
def test_a_broken_gzip_stream_is_named_with_the_line(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "lines.gz"
    written = [f"{i * i}\n".encode() for i in range(2000)]
    path.write_bytes(damage(gzip.compress(b"".join(written), mtime=0)))
    read: list[bytes] = []
    with pytest.raises(EmbedTuneError) as caught:
        read.extend(line for _, line in json_files.read_lines(path))
    message = re.fullmatch(
        re.escape(str(path)) + r":(\d+): broken gzip stream after line (\d+) \(.+\); fetch or compress the file again",
        str(caught.value),
        re.DOTALL,
    )
    assert message is not None, str(caught.value)
    line, after = int(message[1]), int(message[2])
    assert line == after + 1 and after <= len(written)


def test_whole_lines_before_a_break_are_read_and_half_a_line_is_not(tmp_path: Path) -> None:
    path = tmp_path / "lines.gz"
    path.write_bytes(gzip.compress(b"one\ntwo\nthr", mtime=0)[:-8])
    read: list[bytes] = []
    with pytest.raises(EmbedTuneError, match=r"lines\.gz:3: broken gzip stream after line 2 \("):
        read.extend(line for _, line in json_files.read_lines(path))
    assert read == [b"one\n", b"two\n"]


@pytest.mark.parametrize("name", ["absent", "."])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(EmbedTuneError) as caught:
        list(json_files.read_lines(tmp_path / name))
    assert str(caught.value) == f"{tmp_path / name}: no such file"


def test_a_broken_line_of_an_own_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n{"a":\n')
    with pytest.raises(EmbedTuneError) as caught:
        list(json_files.read_json_lines(tmp_path / "rows.jsonl"))
    assert str(caught.value).startswith(f"{tmp_path / 'rows.jsonl'}:2: not valid JSON (")


def test_json_is_rounded_to_six_digits_readable_and_ends_in_a_newline(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    value = {"recall@10": 1 / 3, "count": 3, "rates": [2 / 3, (0.1234567,)], "deep": {"很小": 1e-17}, "none": None}
    json_files.write_json(path, value)
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == {
        "recall@10": 0.333333,
        "count": 3,
        "rates": [0.666667, [0.123457]],
        "deep": {"很小": 0.0},
        "none": None,
    }
    assert text.startswith('{\n  "recall@10": 0.333333,\n') and text.endswith("}\n") and "很小" in text
    assert json_files.read_json(path)["count"] == 3


@pytest.mark.parametrize(
    ("number", "kept"),
    [
        (2e-7, 2e-7),
        (-1.23456789e-5, -1.23457e-5),
        (0.0123456789, 0.0123457),
        (0.123456789, 0.123457),
        (12.3456789012, 12.345679),
        (5.55e-17, 0.0),  # what is left of a sum that should be 0
    ],
)
def test_a_small_number_keeps_six_digits_rather_than_becoming_zero(tmp_path: Path, number: float, kept: float) -> None:
    json_files.write_json(tmp_path / "x.json", {"learning_rate": number})
    assert json_files.read_json(tmp_path / "x.json") == {"learning_rate": kept}
    assert json_files.rounded(kept) == kept


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_json_refuses_what_is_not_finite_and_keeps_the_old_file(tmp_path: Path, number: float) -> None:
    path = tmp_path / "metrics.json"
    json_files.write_json(path, {"loss": 1.0})
    with pytest.raises((ValueError, EmbedTuneError)):
        json_files.write_json(path, {"deep": [{"loss": number}]})
    assert json_files.read_json(path) == {"loss": 1.0}
    assert list(tmp_path.iterdir()) == [path]


def test_reading_json_names_a_missing_or_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    with pytest.raises(EmbedTuneError) as caught:
        json_files.read_json(path)
    assert str(caught.value) == f"{path}: no such file; make it first"
    path.write_text("{")
    with pytest.raises(EmbedTuneError) as caught:
        json_files.read_json(path)
    assert str(caught.value).startswith(f"{path}: not valid JSON (")


def test_problems_are_listed_up_to_twenty_with_the_count_of_the_rest() -> None:
    problems = Problems()
    problems.raise_if_any("no hint without a problem")
    for i in range(SHOWN_PROBLEMS + 3):
        problems.add(f"file:{i}", "wrong")
    with pytest.raises(EmbedTuneError) as caught:
        problems.raise_if_any("mend them")
    lines = str(caught.value).split("\n")
    assert lines == [*(f"file:{i}: wrong" for i in range(20)), "… and 3 more", "mend them"]
    assert problems.count == 23
