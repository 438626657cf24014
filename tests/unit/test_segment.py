"""Passages: every token once, cut between words, whatever the batches; heads are those of the whole text."""

from __future__ import annotations

import itertools
import json
import string
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from embedtune import segment
from embedtune.corpus import read_corpus
from embedtune.errors import EmbedTuneError
from embedtune.files import read_json, read_lines, write_json_lines
from embedtune.passages import Passages, open_passages, read_texts
from embedtune.sample.corpus import write_sample
from embedtune.segment import text_hash, windows, write_passages
from embedtune.tokenization import frame, load_tokenizer

ROOT = Path(__file__).resolve().parents[2]
REAL_CORPUS = ROOT.parent / "shared" / "data" / "mldr-zh-10" / "mldr-v1.0-zh" / "corpus.jsonl.gz"
CONTROL_CHARACTERS = "\x01\x02\u200b\x7f"  # which BERT's normaliser takes away

Window = tuple[int, int]


@pytest.fixture(scope="session")
def bert(sample_model: Path) -> Tokenizer:
    """Every Chinese character is a word of one token, every English word one of a token a letter."""
    return load_tokenizer(sample_model)


@pytest.fixture(scope="session")
def unigram(generated: list[str]) -> Tokenizer:
    """A small tokenizer as XLM-RoBERTa's: a word is what stands between spaces, Chinese sentences included."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    trainer = trainers.UnigramTrainer(
        vocab_size=2000, special_tokens=["<s>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([*generated[:20], *english(20)], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return tokenizer


@pytest.fixture
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return request.getfixturevalue(request.param)


both_tokenizers = pytest.mark.parametrize("tokenizer", ["bert", "unigram"], indirect=True)


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Documents of the sample, of about 2,000 characters."""
    root = tmp_path_factory.mktemp("generated")
    write_sample(root, documents=60, queries={"train": 1}, seed=7)
    return [json.loads(line)["text"] for _, line in read_lines(root / "mldr-v1.0-zh" / "corpus.jsonl.gz")]


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
    directory: Path, texts: list[str], tokenizer: Tokenizer, max_tokens: int, overlap: int = 0, limit: int | None = None
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
        frame_tokens=frame(tokenizer).length,
        overlap_tokens=overlap,
        max_passages=limit,
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
        encoding = tokenizer.encode(text, add_special_tokens=False)
        cut = spans(passages, document)
        check_cover(cut, len(encoding), size)
        assert len(cut) > 3
        for start, end in cut:
            assert start == 0 or encoding.word_ids[start] != encoding.word_ids[start - 1]
            assert end == len(encoding) or encoding.word_ids[end] != encoding.word_ids[end - 1]
        assert sum(end - start for start, end in cut) > 0.7 * size * len(cut)  # and are not cut short needlessly


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
    tokens = sum(len(whole_ids(unigram, text)) for text in generated)
    assert int(passages.token_count.sum()) < 1.05 * tokens  # the tails' reaching back alone is repeated


def test_a_word_too_long_for_the_vocabulary_is_one_token(tmp_path: Path, bert: Tokenizer) -> None:
    passages = segmented(tmp_path, ["x" * 100_000 + " 完"], bert, max_tokens=64)
    assert (passages.token_count.tolist(), passages.char_end.tolist()) == ([2], [100_002])


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
    assert message.startswith(f"params.yaml: segment.max_tokens: {max_tokens} leaves {max_tokens - 2} tokens for text")
    assert message.endswith(f"expected more than twice segment.overlap_tokens ({overlap})")


def test_only_a_few_batches_are_read_ahead(tmp_path: Path, bert: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    read = cut = furthest = 0

    def counted_documents(path: Path) -> Iterator[Any]:
        nonlocal read, furthest
        for document in read_corpus(path):
            read += 1
            furthest = max(furthest, read - cut)
            yield document

    def counted_windows(*arguments: Any) -> Iterator[Window]:
        nonlocal cut
        cut += 1
        return windows(*arguments)

    monkeypatch.setattr(segment, "read_corpus", counted_documents)
    monkeypatch.setattr(segment, "windows", counted_windows)
    monkeypatch.setattr(segment, "BATCH_CHARACTERS", 100)
    segmented(tmp_path, ["字" * 10] * 500, bert, max_tokens=64)
    assert read == cut == 500
    assert furthest <= 40  # four batches of ten


MEMORY_SCRIPT = """
import json, sys
from pathlib import Path
from embedtune.segment import write_passages
from embedtune.tokenization import load_tokenizer

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
