"""An encoding that goes on from what it last noted, with the vectors of one that was never interrupted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from embedtune.core.errors import EmbedTuneError
from embedtune.models import encoding_checkpoints as module
from embedtune.models.encoding_checkpoints import Progress, encoding_run, fill

ROWS, WIDTH = 100, 3


def vectors(rows: NDArray[np.int64]) -> NDArray[np.float16]:
    return np.stack([np.full(WIDTH, row) for row in rows]).astype(np.float16)


def run_to(root: Path, fail_at: int | None = None) -> list[int]:
    """Encode ROWS rows into root/out, in shards of 30; the rows that were encoded, up to `fail_at`."""
    encoded: list[int] = []

    def encode(out: NDArray[np.float16], rows: NDArray[np.int64], which: str, progress: Progress) -> None:
        for number, row in enumerate(rows.tolist()[progress.done :], start=progress.done):
            if row == fail_at:
                raise RuntimeError("killed")
            out[row] = row
            encoded.append(row)
            progress.note(number + 1, batch_tokens=512)

    with encoding_run(root / "scratch" / "encode-base-abc", root / "out") as run:
        fill(run, "passages.npy", ROWS, WIDTH, encode)
        fill(run, "queries.npy", 7, WIDTH, encode)
    return encoded


@pytest.fixture(autouse=True)
def shards_of_thirty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD_ROWS", 30)


@pytest.mark.parametrize(("fail_at", "done"), [(0, 0), (29, 0), (30, 30), (75, 60), (99, 90)])
def test_an_interrupted_encoding_goes_on_from_its_last_finished_shard(
    tmp_path: Path, fail_at: int, done: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        run_to(tmp_path, fail_at)
    assert not (tmp_path / "out").exists()
    run = tmp_path / "scratch" / "encode-base-abc"
    assert Progress(np.zeros(0, np.float16), run, "queries.npy", 0).batch_tokens == (512 if done else None)
    assert run_to(tmp_path) == [*range(done, ROWS), *range(7)]
    assert ("going on with passages.npy" in capsys.readouterr().err) == (done > 0)
    written = {path.name: np.load(path) for path in (tmp_path / "out").iterdir()}
    assert written.keys() == {"passages.npy", "queries.npy"}
    np.testing.assert_array_equal(written["passages.npy"], vectors(np.arange(ROWS)))
    np.testing.assert_array_equal(written["queries.npy"], vectors(np.arange(7)))
    assert not list((tmp_path / "scratch").iterdir())


def test_within_a_shard_it_goes_on_from_what_was_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Noted after every row; killed in the second shard of four, then in the third, then in the other file."""
    monkeypatch.setattr(module, "NOTED_EVERY", 0.0)
    for fail_at in (45, 75, 99):
        with pytest.raises(RuntimeError, match="killed"):
            run_to(tmp_path, fail_at)
        run = tmp_path / "scratch" / "encode-base-abc"
        for file, shard in (("passages.npy", fail_at // 30), ("passages.npy", fail_at // 30 + 1), ("queries.npy", 0)):
            progress = Progress(np.zeros(0, np.float16), run, file, shard)
            noted = fail_at % 30 if (file, shard) == ("passages.npy", fail_at // 30) else 0
            assert (progress.done, progress.batch_tokens) == (noted, 512), "a lowered budget holds for what comes after"
    assert run_to(tmp_path) == [99, *range(7)]
    assert "going on with passages.npy 4/4 after 9 texts" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"passages.npy", "queries.npy"}
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "passages.npy"), vectors(np.arange(ROWS)))


def test_a_second_encoding_replaces_the_first_and_clears_what_others_of_its_name_left(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.npy").touch()
    for name in ("encode-base-old", "encode-base-2-old", "encode-finetuned-old", "0123456789ab"):
        (tmp_path / "scratch" / name).mkdir(parents=True)
    run_to(tmp_path)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"passages.npy", "queries.npy"}
    left = {path.name for path in (tmp_path / "scratch").iterdir()}
    assert left == {"encode-base-2-old", "encode-finetuned-old", "0123456789ab"}


def test_two_encodings_of_one_folder_do_not_mix(tmp_path: Path) -> None:
    run = tmp_path / "encode-base-abc"
    with encoding_run(run, tmp_path / "out"):
        second = encoding_run(run, tmp_path / "out")
        with pytest.raises(EmbedTuneError, match="is still writing it"):
            second.__enter__()
