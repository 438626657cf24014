"""Passages: every token once, cut between words, whatever the batches; heads are those of the whole text."""

from __future__ import annotations

import itertools
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from embedtune.core.errors import EmbedTuneError
from embedtune.core.json_files import read_json
from embedtune.data import segment
from embedtune.data.passages import Passages, open_passages, read_texts
from embedtune.data.segment import text_hash, write_passages
from embedtune.data.windows import windows
from tests.unit.segmenting import (
    Window,
    both_tokenizers,
    check_cover,
    check_texts_cover,
    english,
    segmented,
    spans,
    whole_ids,
    write_corpus,
)

CONTROL_CHARACTERS = "\x01\x02\u200b\x7f"  # which BERT's normaliser takes away
LENGTHS = [1, 2, 30, 31, 61, 62, 63, 92, 93, 94, 123, 124, 125, 154, 155, 156, 186, 1000]


def test_passages_cover_every_token_of_a_document_once(tmp_path: Path, bert: Tokenizer) -> None:
    rng = np.random.default_rng(1)
    characters = list("天地玄黄宇宙洪荒日月盈昃辰宿列张")
    texts = ["".join(rng.choice(characters, length)) for length in LENGTHS]
    passages = segmented(tmp_path, texts, bert, max_tokens=64)
    for document, text in enumerate(texts):
        cut = spans(passages, document)
        check_cover(cut, len(text), 62)
        ids = whole_ids(bert, text)
        assert [passages.tokens(p).tolist() for p in passages.of_document(document)] == [ids[s:e] for s, e in cut]
        assert all(end - start == 62 for start, end in cut[:-1])  # one token a word: all but the last are full
        assert len(cut) == 1 or cut[-1][1] - cut[-1][0] >= 31


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (124, [(0, 62), (62, 124)]),
        (155, [(0, 62), (62, 124), (124, 155)]),  # 31 is half of 62: long enough to stand alone
        (154, [(0, 62), (62, 124), (92, 154)]),  # 30 is not, and reaches back
        (63, [(0, 62), (1, 63)]),
    ],
)
def test_a_short_tail_reaches_back_to_be_a_full_passage(
    tmp_path: Path, bert: Tokenizer, length: int, expected: list[Window]
) -> None:
    assert spans(segmented(tmp_path, ["字" * length], bert, max_tokens=64), 0) == expected


@both_tokenizers
@pytest.mark.parametrize("max_tokens", [24, 64])
def test_passages_of_english_begin_and_end_between_words(tmp_path: Path, tokenizer: Tokenizer, max_tokens: int) -> None:
    texts = english(10)
    size = max_tokens - 2
    passages = segmented(tmp_path, texts, tokenizer, max_tokens)
    for document, text in enumerate(texts):
        own = passages.of_document(document)
        starts, ends = passages.char_start[own].tolist(), passages.char_end[own].tolist()
        assert len(own) > 3 and starts[0] == 0 and ends[-1] == len(text.rstrip())
        assert all(start == 0 or text[start - 1].isspace() or "." in text[start - 1 : start + 1] for start in starts)
        assert all(end == len(text.rstrip()) or text[end].isspace() or text[end] == "." for end in ends)
        check_texts_cover(text, starts, ends)
        assert int(passages.token_count[own].max()) <= size
        assert int(passages.token_count[own].sum()) > 0.7 * size * len(own)  # and are not cut short needlessly


@pytest.mark.parametrize("overlap", [0, 5, 20])
def test_the_text_of_a_passage_tokenised_again_gives_its_tokens(
    tmp_path: Path, bert: Tokenizer, generated: list[str], overlap: int
) -> None:
    texts = [
        *generated[:5],
        *english(5),
        "Ünïcödé ＡＢＣ１２３ Ⅳ 😀😀 mixed 中文 with English, ok?\u3000" * 30,
        "naïve café\t\n" * 50,
    ]
    passages = segmented(tmp_path, texts, bert, max_tokens=48, overlap=overlap)
    everything = np.arange(len(passages))
    for p, text in zip(everything, read_texts(tmp_path / "corpus.jsonl", passages, everything), strict=True):
        assert whole_ids(bert, text) == passages.tokens(p).tolist()
        assert text == text.strip()
    documents = [texts[d] for d in passages.document]
    starts, ends = passages.char_start.tolist(), passages.char_end.tolist()
    assert all(0 <= start < end <= len(text) for start, end, text in zip(starts, ends, documents, strict=True))


@pytest.mark.parametrize("overlap", [1, 7, 30])
def test_passages_overlap_by_what_was_asked_for(tmp_path: Path, bert: Tokenizer, overlap: int) -> None:
    texts = ["字" * length for length in LENGTHS]
    passages = segmented(tmp_path, texts, bert, max_tokens=64, overlap=overlap)
    for document, text in enumerate(texts):
        cut = spans(passages, document)
        assert cut[0][0] == 0 and cut[-1][1] == len(text)
        assert all(end - next_start == overlap for (_, end), (next_start, _) in itertools.pairwise(cut[:-1]))
        if len(cut) > 1:
            assert cut[-2][1] - cut[-1][0] >= overlap  # the tail may reach back further


@pytest.mark.parametrize("overlap", [1, 7, 30])
def test_an_overlap_begins_at_the_start_of_a_word_not_after_the_place_asked_for(
    tmp_path: Path, bert: Tokenizer, overlap: int
) -> None:
    texts = english(5, longest=9)
    passages = segmented(tmp_path, texts, bert, max_tokens=64, overlap=overlap)
    for document, text in enumerate(texts):
        words = bert.encode(text, add_special_tokens=False).word_ids
        cut = spans(passages, document)
        assert cut[0][0] == 0 and cut[-1][1] == len(words)
        for (_, end), (next_start, _) in itertools.pairwise(cut[:-1]):
            assert overlap <= end - next_start < overlap + 9
            assert words[next_start] != words[next_start - 1]


def random_text(rng: np.random.Generator) -> str:
    """Chinese, words of up to 99 letters, figures, punctuation and white space, in any mixture."""
    kinds = [
        lambda: "".join(rng.choice(list("天地玄黄宇宙洪荒"), rng.integers(1, 30))),
        lambda: "".join(rng.choice(list("abc"), rng.integers(1, 10))) + " ",
        lambda: "".join(rng.choice(list("abc123"), rng.integers(1, 100))),
        lambda: rng.choice(["，", "。", " ", "\n", "  \t", "!", "\x01", "😀"]),
    ]
    return "".join(kinds[rng.choice(4, p=[0.35, 0.4, 0.05, 0.2])]() for _ in range(rng.integers(1, 120)))


@both_tokenizers
@pytest.mark.parametrize("overlap", [0, 3])
def test_any_text_is_covered_in_passages_that_move_on(tokenizer: Tokenizer, overlap: int) -> None:
    rng = np.random.default_rng(11)
    cuts = 0
    for _ in range(300):
        size = int(rng.integers(2 * overlap + 1, 40))
        encoding = tokenizer.encode(random_text(rng), add_special_tokens=False)
        cut = list(windows(encoding, size, overlap, None))
        cuts += len(cut)
        if not len(encoding):
            assert cut == [(0, 0)]
            continue
        assert cut[0][0] == 0 and cut[-1][1] == len(encoding)
        assert all(0 < end - start <= size for start, end in cut)
        assert all(a[0] < b[0] <= a[1] - overlap and a[1] < b[1] for a, b in itertools.pairwise(cut))
        if overlap == 0:
            check_cover(cut, len(encoding), size)
    assert cuts > 1000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x" * 90, [(0, 22), (22, 44), (44, 66), (66, 88), (68, 90)]),
        ("ab " + "x" * 90, [(0, 22), (22, 44), (44, 66), (66, 88), (70, 92)]),
        ("abc defgh " + "x" * 36, [(0, 22), (22, 44)]),
    ],
)
def test_a_word_longer_than_a_passage_is_cut_and_no_part_of_it_stands_twice(
    bert: Tokenizer, text: str, expected: list[Window]
) -> None:
    assert list(windows(bert.encode(text, add_special_tokens=False), 22, 0, None)) == expected


def test_long_sentences_without_spaces_do_not_stand_twice(
    tmp_path: Path, unigram: Tokenizer, generated: list[str]
) -> None:
    passages = segmented(tmp_path, generated, unigram, max_tokens=64)
    for document, text in enumerate(generated):
        own = passages.of_document(document)
        check_texts_cover(text, passages.char_start[own].tolist(), passages.char_end[own].tolist())


def test_a_word_too_long_for_the_vocabulary_is_one_token(tmp_path: Path, bert: Tokenizer) -> None:
    passages = segmented(tmp_path, ["x" * 100_000 + " 完"], bert, max_tokens=64)
    assert (passages.token_count.tolist(), passages.char_end.tolist()) == ([2], [100_002])


@pytest.mark.parametrize("limit", [None, 1])
def test_a_text_without_tokens_has_one_empty_passage(tmp_path: Path, bert: Tokenizer, limit: int | None) -> None:
    texts = ["一二", CONTROL_CHARACTERS, "三"]
    passages = segmented(tmp_path, texts, bert, max_tokens=64, limit=limit)
    assert passages.document.tolist() == [0, 1, 2]
    assert passages.token_count.tolist() == [2, 0, 1]
    assert (passages.char_start[1], passages.char_end[1]) == (0, 0)
    assert passages.tokens(1).tolist() == []
    assert read_texts(tmp_path / "corpus.jsonl", passages, np.arange(3)) == ["一二", "", "三"]


def test_a_corpus_without_tokens_can_be_opened(tmp_path: Path, bert: Tokenizer) -> None:
    passages = segmented(tmp_path, [CONTROL_CHARACTERS] * 2, bert, max_tokens=64)
    assert (len(passages), len(passages.token_ids)) == (2, 0)
    assert read_json(tmp_path / "passages-64-0-None" / "meta.json") == {
        "dtype": "uint16",
        "max_tokens": 64,
        "documents": 2,
        "passages": 2,
        "tokens": 0,
        "documents_without_tokens": 2,
        "documents_with_title": 0,
        "characters": 2 * len(CONTROL_CHARACTERS),
        "characters_left_out": 0,
        "documents_left_out_in_part": 0,
        "room": 0,
        "room_unused": 0,
        "passages_joined_to_instruction": 0,
        "tokens_dropped": 0,
    }


@pytest.mark.parametrize(("words", "dtype"), [(2**16, "uint16"), (2**16 + 1, "uint32")])
def test_token_ids_take_two_bytes_where_they_fit(tmp_path: Path, words: int, dtype: str) -> None:
    vocabulary = {f"w{i}": i for i in range(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    write_corpus(tmp_path / "corpus.jsonl", [f"w1 w{words - 1} w2"])
    meta = write_passages(
        tmp_path / "corpus.jsonl",
        tokenizer,
        tmp_path,
        max_tokens=8,
        frame_tokens=0,
        overlap_tokens=0,
        max_passages=None,
    )
    passages = open_passages(tmp_path)
    assert meta["dtype"] == dtype == passages.token_ids.dtype.name
    assert passages.tokens(0).tolist() == [1, words - 1, 2]


def test_texts_are_read_in_any_order_and_as_often_as_asked(
    tmp_path: Path, bert: Tokenizer, generated: list[str]
) -> None:
    texts = ['"quoted"\n\t第一行', *generated[:10], "\u2028 two 😀😀 字"]
    passages = segmented(tmp_path, texts, bert, max_tokens=32)
    numbers = np.random.default_rng(3).integers(len(passages), size=200)
    got = read_texts(tmp_path / "corpus.jsonl", passages, numbers)
    assert got == [texts[passages.document[n]][passages.char_start[n] : passages.char_end[n]] for n in numbers]
    assert read_texts(tmp_path / "corpus.jsonl", passages, np.array([], dtype=np.int64)) == []


def test_hashes_tell_equal_texts_whatever_white_space_is_around_them(tmp_path: Path, bert: Tokenizer) -> None:
    passages = segmented(tmp_path, ["一二", " 一二\n", "一 二", "二一"], bert, max_tokens=64)
    first, second, third, fourth = passages.text_hash.tolist()
    assert first == second == text_hash("一二")
    assert len({first, third, fourth}) == 3
    assert text_hash(" \u3000一二\n") == first


def test_the_table_does_not_depend_on_the_batches(
    tmp_path: Path, bert: Tokenizer, generated: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [*generated[:20], "短", CONTROL_CHARACTERS, *english(3)]
    results: list[tuple[Passages, dict[str, Any]]] = []
    for characters in (1, 5_000, 10**9):
        monkeypatch.setattr(segment, "BATCH_CHARACTERS", characters)
        directory = tmp_path / str(characters)
        directory.mkdir()
        passages = segmented(directory, texts, bert, max_tokens=64, overlap=8)
        results.append((passages, read_json(directory / "passages-64-8-None" / "meta.json")))
    first, first_meta = results[0]
    assert first_meta["documents"] == len(texts) and first_meta["passages"] == len(first)
    assert first.document_ids == [f"d{i}" for i in range(len(texts))]
    assert first.first_passage.tolist() == [*np.searchsorted(first.document, np.arange(len(texts))), len(first)]
    for other, meta in results[1:]:
        assert meta == first_meta
        for field in fields(Passages):
            assert np.array_equal(getattr(first, field.name), getattr(other, field.name)), field.name


@pytest.mark.parametrize(("max_tokens", "overlap"), [(3, 1), (2, 0), (10, 4)])
def test_no_room_for_text_is_named(tmp_path: Path, bert: Tokenizer, max_tokens: int, overlap: int) -> None:
    with pytest.raises(EmbedTuneError) as caught:
        segmented(tmp_path, ["字"], bert, max_tokens, overlap)
    message = str(caught.value)
    assert message.startswith(f"max_tokens: {max_tokens} leaves {max_tokens - 2} tokens for text")
    assert message.endswith(f"expected more than twice `overlap_tokens` ({overlap})")
