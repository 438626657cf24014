"""A corpus cut into passages, and what must hold of any cut."""

from __future__ import annotations

import itertools
import string
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from embedtune.core.json_files import write_json_lines
from embedtune.data.passages import Passages, open_passages
from embedtune.data.segment import write_passages
from embedtune.models.tokenization import frame

ROOT = Path(__file__).resolve().parents[2]
REAL_CORPUS = ROOT.parent / "shared" / "data" / "mldr-zh-10" / "mldr-v1.0-zh" / "corpus.jsonl.gz"
Window = tuple[int, int]
both_tokenizers = pytest.mark.parametrize("tokenizer", ["bert", "unigram"], indirect=True)


def english(count: int, words: int = 400, longest: int = 9) -> list[str]:
    """Texts of made-up words of 1 to `longest` letters, with full stops and line breaks."""
    rng = np.random.default_rng(5)
    letters = list(string.ascii_lowercase)
    ends = [" "] * 8 + [". ", "\n"]
    return [
        "".join("".join(rng.choice(letters, rng.integers(1, longest + 1))) + rng.choice(ends) for _ in range(words))
        for _ in range(count)
    ]


def write_corpus(path: Path, texts: list[str]) -> Path:
    write_json_lines(path, ({"_id": f"d{i}", "text": text} for i, text in enumerate(texts)))
    return path


def segmented(
    directory: Path,
    texts: list[str],
    tokenizer: Tokenizer,
    max_tokens: int,
    overlap: int = 0,
    limit: int | None = None,
    instruction: str = "",
) -> Passages:
    """The texts as passages of `max_tokens` tokens with the tokenizer's special tokens."""
    corpus = write_corpus(directory / "corpus.jsonl", texts)
    target = directory / f"passages-{max_tokens}-{overlap}-{limit}"
    target.mkdir()
    write_passages(
        corpus,
        tokenizer,
        target,
        max_tokens=max_tokens,
        frame_tokens=frame(tokenizer, instruction).length,
        overlap_tokens=overlap,
        max_passages=limit,
        instruction=instruction,
    )
    return open_passages(target)


def whole_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def spans(passages: Passages, document: int) -> list[Window]:
    """Token ranges of the document's passages, counted from its first token."""
    own = passages.of_document(document)
    starts = passages.token_start[own] - passages.token_start[own[0]]
    return [(int(start), int(start + count)) for start, count in zip(starts, passages.token_count[own], strict=True)]


def check_cover(cut: list[Window], tokens: int, size: int) -> None:
    """Every token once, in order; a last passage whose own part is short may reach back to be a full one."""
    assert cut[0][0] == 0 and cut[-1][1] == tokens
    assert all(0 < end - start <= size for start, end in cut)
    for i, ((_, end), (next_start, next_end)) in enumerate(itertools.pairwise(cut)):
        if next_start != end:
            assert i == len(cut) - 2, f"passage {i + 1} of {len(cut)} begins at {next_start}, not at {end}"
            assert next_start < end and next_end - end < size // 2 and next_end - next_start <= size


def check_texts_cover(text: str, starts: list[int], ends: list[int]) -> None:
    """Every character but white space in a passage, in order; the last passage alone may reach back."""
    assert not text[: starts[0]].strip() and not text[ends[-1] :].strip()
    for number, (end, start) in enumerate(zip(ends[:-1], starts[1:], strict=True)):
        assert not text[end:start].strip(), f"characters {end} to {start} are in no passage"
        assert start >= end or number == len(starts) - 2, f"passage {number + 1} begins at {start}, before {end}"
