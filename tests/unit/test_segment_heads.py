"""The head of a document: what truncating the whole text would leave."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from embedtune.core.json_files import read_lines
from embedtune.models.tokenization import frame, load_tokenizer
from tests.unit.segmenting import REAL_CORPUS, both_tokenizers, english, segmented, spans


def test_the_head_is_what_truncation_of_the_whole_text_leaves(
    tmp_path: Path, bert: Tokenizer, sample_model: Path, generated: list[str]
) -> None:
    truncating = load_tokenizer(sample_model)
    truncating.enable_truncation(max_length=64)
    texts = [*generated, "短", "字" * 62, "字" * 63]
    passages = segmented(tmp_path, texts, bert, max_tokens=64, limit=1)
    assert len(passages) == len(texts)
    frame_of_model = frame(bert)
    for p, text in enumerate(texts):
        assert frame_of_model.around(passages.tokens(p), 64).tolist() == truncating.encode(text).ids


def test_the_head_of_english_is_the_truncated_text_up_to_its_last_whole_word(tmp_path: Path, bert: Tokenizer) -> None:
    texts = english(20)
    passages = segmented(tmp_path, texts, bert, max_tokens=64, limit=1)
    for p, text in enumerate(texts):
        encoding = bert.encode(text, add_special_tokens=False)
        end = max(i for i in range(63) if encoding.word_ids[i] != encoding.word_ids[i - 1])
        assert passages.tokens(p).tolist() == encoding.ids[:end]


def awkward() -> list[str]:
    """Texts whose heads need more of the text than most, or end in a word that comes out otherwise when cut."""
    return [
        " " * 5000 + "after much white space " + "字" * 200,
        ("word" + " " * 500) * 100,
        "x" * 140 + " " + "y" * 150 + " end" * 40,
        ("x" * 150 + " ") * 40,
        "é" * 1000 + " " + "e\u0301" * 3000,
        "\x01" * 3000 + "字" * 300,
        ("https://example.org/" + "a1b2c3d4" * 20 + " ") * 30,
    ]


@both_tokenizers
@pytest.mark.parametrize(("max_tokens", "limit"), [(8, 1), (24, 2), (64, 1), (64, 3), (256, 1)])
def test_the_first_passages_of_a_text_are_those_of_the_whole_text(
    tmp_path: Path, tokenizer: Tokenizer, generated: list[str], max_tokens: int, limit: int
) -> None:
    texts = [*generated[:20], *english(10), *awkward()]
    check_heads(tmp_path, texts, tokenizer, max_tokens, limit)


@pytest.mark.skipif(not REAL_CORPUS.is_file(), reason="the real data sets are not beside this checkout")
@both_tokenizers
def test_the_first_passages_of_a_real_document_are_those_of_the_whole_document(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    texts = sorted((json.loads(line)["text"] for _, line in read_lines(REAL_CORPUS)), key=len)
    check_heads(tmp_path, texts[::7] + texts[-3:], tokenizer, max_tokens=256, limit=2)


def check_heads(directory: Path, texts: list[str], tokenizer: Tokenizer, max_tokens: int, limit: int) -> None:
    heads, whole = (segmented(directory, texts, tokenizer, max_tokens, limit=n) for n in (limit, None))
    for document in range(len(texts)):
        for head, same in zip(heads.of_document(document), whole.of_document(document)[:limit], strict=True):
            assert heads.tokens(head).tolist() == whole.tokens(same).tolist(), f"document {document}"
            assert (heads.char_start[head], heads.char_end[head]) == (whole.char_start[same], whole.char_end[same])
    assert int(heads.token_count.max()) <= max_tokens - 2
    assert len(heads.token_ids) == sum(spans(heads, document)[-1][1] for document in range(len(texts)))
    assert len(heads.token_ids) < len(whole.token_ids)
