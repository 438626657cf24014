"""Passages that end with sentences and paragraphs, and titles that are carried along."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from embedtune.data.passages import open_passages, read_texts
from embedtune.data.segment import write_passages
from embedtune.data.windows import windows
from embedtune.models.tokenization import frame
from tests.unit.segmenting import both_tokenizers, check_cover, english
from tests.unit.test_segment import random_text

LETTERS = "天地玄黄宇宙洪荒日月盈昃"


def sentences(rng: np.random.Generator, count: int, longest: int) -> str:
    """Sentences of 3 to `longest` characters, a line break after some."""
    parts = []
    for _ in range(count):
        words = "".join(rng.choice(list(LETTERS), rng.integers(3, longest + 1)))
        parts.append(words + str(rng.choice(["。", "！", "？”", "；"])) + ("\n" if rng.random() < 0.15 else ""))
    return "".join(parts)


def ends_of_sentences(text: str) -> set[int]:
    """Characters at which a sentence begins after another, white space left out."""
    found = set()
    for i, character in enumerate(text):
        if character in "。！？；”\n" and i + 1 < len(text) and text[i + 1] not in "”\n":
            found.add(i + 1)
    return found


@pytest.mark.parametrize(("overlap", "longest"), [(0, 18), (10, 10)])
def test_every_passage_ends_with_a_sentence_where_sentences_are_short(
    bert: Tokenizer, overlap: int, longest: int
) -> None:
    """No sentence is longer than half of what a passage adds to the one before it, so that each can end with one."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        text = sentences(rng, 60, longest)
        encoding = bert.encode(text, add_special_tokens=False)
        cut = list(windows(encoding, 40, overlap, None, text=text, boundaries="sentence"))
        ends = ends_of_sentences(text)
        assert all(encoding.token_to_chars(end)[0] in ends for _, end in cut[:-1])
        if overlap:
            starts = [encoding.token_to_chars(start)[0] for start, _ in cut[1:-1]]
            assert sum(start in ends for start in starts) > 0.3 * len(starts)
        else:
            check_cover(cut, len(encoding), 40)


def test_a_paragraphs_end_in_the_last_quarter_goes_before_a_later_sentences(bert: Tokenizer) -> None:
    text = "天" * 33 + "。\n" + "地" * 3 + "。" + "玄" * 30
    encoding = bert.encode(text, add_special_tokens=False)
    assert next(windows(encoding, 40, 0, None, text=text, boundaries="sentence")) == (0, 34)
    early = "天" * 22 + "。\n" + "地" * 14 + "。" + "玄" * 30
    encoding = bert.encode(early, add_special_tokens=False)
    assert next(windows(encoding, 40, 0, None, text=early, boundaries="sentence")) == (0, 38)


@both_tokenizers
@pytest.mark.parametrize("overlap", [0, 3])
@pytest.mark.parametrize("title", [0, 4])
def test_any_text_is_covered_in_passages_that_move_on(tokenizer: Tokenizer, overlap: int, title: int) -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        size = int(rng.integers(2 * overlap + 1 + title, 40))
        text = random_text(rng)
        encoding = tokenizer.encode(text, add_special_tokens=False)
        cut = list(windows(encoding, size, overlap, None, later_size=size - title, text=text, boundaries="sentence"))
        if len(encoding):
            assert cut[0][0] == 0 and cut[-1][1] == len(encoding)
            assert cut[0][1] <= size
            assert all(0 < end - start <= size - title for start, end in cut[1:])
            assert all(a[0] < b[0] <= a[1] - overlap and a[1] < b[1] for a, b in itertools.pairwise(cut))


def test_passages_after_the_first_begin_with_the_documents_title(tmp_path: Path, bert: Tokenizer) -> None:
    bodies = [*english(4), "正文" * 5]
    titles = ["Title of one", "", "题目", "a much longer title than any passage would carry along", "题"]
    with (tmp_path / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for i, (title, body) in enumerate(zip(titles, bodies, strict=True)):
            row = {"_id": f"d{i}", **({"title": title} if title else {}), "text": f"{title} {body}".strip()}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    target = tmp_path / "passages"
    target.mkdir()
    counts = write_passages(
        tmp_path / "corpus.jsonl",
        bert,
        target,
        max_tokens=64,
        frame_tokens=frame(bert).length,
        overlap_tokens=0,
        max_passages=None,
        title_tokens=12,
    )
    assert counts["documents_with_title"] == 4
    passages = open_passages(target)
    lengths = passages.lengths()
    texts = read_texts(tmp_path / "corpus.jsonl", passages, np.arange(len(passages)))
    for number in range(len(passages)):
        document = int(passages.document[number])
        tokens = passages.tokens(number).tolist()
        assert len(tokens) == lengths[number] <= 62
        first = number == passages.first_passage[document]
        expected = bert.encode(titles[document], add_special_tokens=False).ids[:12] if titles[document] else []
        content = passages.token_ids[passages.token_start[number] :][: passages.token_count[number]].tolist()
        assert tokens == (content if first else expected + content)
        assert texts[number].startswith(titles[document])
