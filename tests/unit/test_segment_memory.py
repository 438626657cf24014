"""Segmenting holds a few batches of the corpus at a time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from embedtune.data import cutting, segment
from embedtune.data.corpus import read_corpus
from embedtune.data.windows import windows
from tests.unit.segmenting import ROOT, Window, segmented


def test_only_a_few_batches_are_read_ahead(tmp_path: Path, bert: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    read = cut = furthest = 0

    def counted_documents(path: Path) -> Iterator[Any]:
        nonlocal read, furthest
        for document in read_corpus(path):
            read += 1
            furthest = max(furthest, read - cut)
            yield document

    def counted_windows(*arguments: Any, **options: Any) -> Iterator[Window]:
        nonlocal cut
        cut += 1
        return windows(*arguments, **options)

    monkeypatch.setattr(segment, "read_corpus", counted_documents)
    monkeypatch.setattr(cutting, "windows", counted_windows)
    monkeypatch.setattr(segment, "BATCH_CHARACTERS", 100)
    segmented(tmp_path, ["字" * 10] * 500, bert, max_tokens=64)
    assert read == cut == 500
    assert furthest <= 40  # four batches of ten


MEMORY_SCRIPT = """
import json, sys
from pathlib import Path
from embedtune.data.segment import write_passages
from embedtune.models.tokenization import load_tokenizer

def peak():  # kilobytes, of this program alone: getrusage would count what the process was before it
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

directory = Path(sys.argv[1])
tokenizer = load_tokenizer(Path(sys.argv[2]))
text = "雨下了整整一个下午，街上几乎看不到行人。" * 300
with (directory / "corpus.jsonl").open("w") as file:
    for i in range(1100):
        file.write(json.dumps({"_id": f"d{i}", "text": text}, ensure_ascii=False) + "\\n")
(directory / "passages").mkdir()
before = peak()
write_passages(directory / "corpus.jsonl", tokenizer, directory / "passages",
               max_tokens=64, frame_tokens=2, overlap_tokens=0, max_passages=None)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to read the peak of memory")
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path, sample_model: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_SCRIPT, str(tmp_path), str(sample_model)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (tmp_path / "corpus.jsonl").stat().st_size > 19e6
    assert int(done.stdout) < 400_000, "kilobytes; all encodings at once take twice as much"
