"""Passages of tokenizers whose tokens depend on what stands beside a word: SentencePiece, byte-level."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from embedtune.core.json_files import read_json
from embedtune.data.passage_tokens import words_stand_alone
from embedtune.data.passages import open_passages, read_texts
from embedtune.data.segment import write_passages
from embedtune.data.windows import windows
from embedtune.models.tokenization import frame
from tests.unit.segmenting import check_texts_cover, english, segmented
from tests.unit.test_segment import random_text

THAI = "ภาษาไทยเป็นภาษาที่มีระดับเสียงของคำแน่นอนหรือวรรณยุกต์เช่นเดียวกับภาษาจีน " * 6
INSTRUCTIONS = ["", "passage: ", "文档：", "Represent this:\n"]


@pytest.fixture(scope="session")
def byte_level(generated: list[str]) -> Tokenizer:
    """A small tokenizer as GPT-2's or Qwen's: a word has its space, and rare characters are several tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1200, special_tokens=["</s>"], initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator([*generated[:20], *english(20)], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 0)])
    return tokenizer


@pytest.fixture(scope="session")
def byte_fallback() -> Tokenizer:
    """A small tokenizer as Llama's and Mistral's: `▁` before the text, bytes for what is not in the vocabulary."""
    known = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{i:02X}>" for i in range(256)),
        "▁",
        *"abcdefghijklmnopqrstuvwxyz.:天地玄黄",
    ]
    tokenizer = Tokenizer(
        models.BPE({token: i for i, token in enumerate(known)}, [], unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


names = pytest.mark.parametrize("tokenizer", ["unigram", "byte_level", "byte_fallback"], indirect=True)


def texts(generated: list[str]) -> list[str]:
    rng = np.random.default_rng(3)
    return [*generated[:3], *english(1), THAI, "", "短", " \n", *(random_text(rng) for _ in range(12))]


@names
@pytest.mark.parametrize("instruction", INSTRUCTIONS)
@pytest.mark.parametrize(("overlap", "limit"), [(0, None), (9, None), (0, 1)])
def test_a_passages_tokens_are_those_of_instruction_and_text_together(
    tmp_path: Path, tokenizer: Tokenizer, generated: list[str], instruction: str, overlap: int, limit: int | None
) -> None:
    documents = texts(generated)
    passages = segmented(tmp_path, documents, tokenizer, 64, overlap, limit, instruction)
    around = frame(tokenizer, instruction)
    everything = np.arange(len(passages))
    different = 0
    for number, text in zip(everything, read_texts(tmp_path / "corpus.jsonl", passages, everything), strict=True):
        ours = around.around(passages.tokens(number), 64).tolist()
        assert len(ours) == passages.token_count[number] + around.length <= 64
        different += bool(text) and ours != tokenizer.encode(instruction + text).ids
    meta = read_json(next(tmp_path.glob("passages-*")) / "meta.json")
    assert (different, meta["tokens_dropped"]) == (meta["passages_joined_to_instruction"], 0)
    assert different <= 0.02 * len(passages)
    if limit is None and not overlap:
        for document, text in enumerate(documents):
            own = passages.of_document(document)
            if text.strip():
                check_texts_cover(text, passages.char_start[own].tolist(), passages.char_end[own].tolist())


def test_an_instruction_that_shares_a_token_with_a_text_is_counted(tmp_path: Path, unigram: Tokenizer) -> None:
    """Texts that go on with the instruction's last word."""
    documents = ["letters of a word", "，中文"]
    passages = segmented(tmp_path, documents, unigram, 64, instruction="word")
    meta = read_json(tmp_path / "passages-64-0-None" / "meta.json")
    around = frame(unigram, "word")
    whole = [unigram.encode("word" + text).ids for text in documents]
    different = sum(around.around(passages.tokens(i), 64).tolist() != whole[i] for i in range(2))
    assert meta["passages_joined_to_instruction"] == different


@names
def test_first_passages_of_chinese_and_thai_are_full(
    tmp_path: Path, tokenizer: Tokenizer, generated: list[str]
) -> None:
    documents = [text.replace("\n", " ") for text in generated[:20]] + [THAI] * 5
    segmented(tmp_path, documents, tokenizer, 64, limit=1)
    meta = read_json(tmp_path / "passages-64-0-1" / "meta.json")
    assert meta["room"] >= 15 * 60
    assert meta["room_unused"] < 0.03 * meta["room"]
    assert meta["documents_left_out_in_part"] >= 20  # Thai is one unknown token for some
    assert 0 < meta["characters_left_out"] < meta["characters"]


@names
def test_no_passage_begins_or_ends_inside_a_character(tmp_path: Path, tokenizer: Tokenizer) -> None:
    documents = ["😀🌍🎉鑫龘" * 60, "e\u0301" * 200, "กำลัง" * 60]
    passages = segmented(tmp_path, documents, tokenizer, 32)
    everything = np.arange(len(passages))
    found = read_texts(tmp_path / "corpus.jsonl", passages, everything)
    assert [*"".join(found)][:9] == [*documents[0]][:9]
    assert all(text and (text[0] not in "\u0e31\u0e33") for text in found)
    for number, text in zip(everything, found, strict=True):
        assert passages.tokens(number).tolist() == tokenizer.encode(text, add_special_tokens=False).ids


def test_any_character_of_a_script_without_spaces_begins_a_word_if_asked(unigram: Tokenizer) -> None:
    text = "天地玄黄宇宙洪荒 " + "日月盈昃辰宿列张" * 9
    encoding = unigram.encode(text, add_special_tokens=False)
    plain, unspaced = (next(windows(encoding, 24, 0, None, text=text, unspaced=flag))[1] for flag in (False, True))
    assert plain <= unspaced == 24


def test_later_passages_carry_their_title_as_if_it_stood_before_them(tmp_path: Path, byte_level: Tokenizer) -> None:
    body, title = english(1)[0], "A title"
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"_id": "d", "title": title, "text": f"{title} {body}"}) + "\n")
    (tmp_path / "passages").mkdir()
    options = {"max_tokens": 64, "frame_tokens": frame(byte_level, "passage: ").length, "overlap_tokens": 0}
    write_passages(
        tmp_path / "corpus.jsonl", byte_level, tmp_path / "passages", max_passages=None, title_tokens=12,
        instruction="passage: ", **options,
    )  # fmt: skip
    passages = open_passages(tmp_path / "passages")
    around = frame(byte_level, "passage: ")
    found = read_texts(tmp_path / "corpus.jsonl", passages, np.arange(len(passages)))
    assert len(found) > 3 and all(text.startswith(title) for text in found)
    for number, text in enumerate(found):
        assert around.around(passages.tokens(number), 64).tolist() == byte_level.encode(f"passage: {text}").ids


def test_words_stand_alone_for_bert_unless_the_instruction_ends_in_one(bert: Tokenizer, unigram: Tokenizer) -> None:
    assert all(words_stand_alone(bert, instruction) for instruction in ("", "passage: ", "文档：", "文档"))
    assert not words_stand_alone(bert, "passage")
    assert not words_stand_alone(unigram, "")
