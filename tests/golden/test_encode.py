"""Embeddings against FlagEmbedding, sentence-transformers and transformers itself, on tiny random models in fp32."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pytest
import torch
from FlagEmbedding import FlagModel
from FlagEmbedding.finetune.embedder.encoder_only.base import BiEncoderOnlyEmbedderModel
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    BertTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2Model,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from embedtune.core.errors import EmbedTuneError
from embedtune.models.base_model import prepare_model
from embedtune.models.encode import encode, load_backbone, pad_token_id
from embedtune.models.padding import pad
from embedtune.models.pooling import pool
from embedtune.models.settings import Settings, read_settings
from embedtune.models.tokenization import frame, load_tokenizer, tokenize_queries

TOLERANCE = 1e-5
MAX_LEN = 40
INSTRUCTION = "为这个句子生成表示用于检索："
CHARACTERS = "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = string.ascii_lowercase + string.digits


def random_texts(count: int, seed: int = 0) -> list[str]:
    """Chinese with words, numbers, capitals, punctuation and spaces between; 0 to 120 characters."""
    rng = np.random.default_rng(seed)
    pieces = [*CHARACTERS, " Word ", "bge-m3", " 2024", "，", "。", "(a b)", "  ", "é"]
    return ["".join(rng.choice(pieces, size)) for size in [0, 1, 120, *rng.integers(2, 90, count - 3)]]


TEXTS = random_texts(40)


def prepared(root: Path, model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, **settings: object) -> Path:
    """A model directory as the base_model stage leaves it, of random weights large enough to tell positions apart."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                scale = 1.0 if "embeddings" in name else 2 / weight.shape[1] ** 0.5
                weight.copy_(torch.randn(weight.shape, generator=generator) * scale)
    source, target = root / "source", root / "prepared"
    source.mkdir()
    target.mkdir()
    model.save_pretrained(source)
    tokenizer.save_pretrained(source)
    options = {"normalize": True, "query_instruction": INSTRUCTION, "passage_instruction": ""} | settings
    prepare_model(source, target, **options)
    return target


def bert(root: Path, **settings: object) -> Path:
    continued = ["##" + letter for letter in LETTERS]
    vocabulary = dict.fromkeys([*SPECIAL, *LETTERS, *continued, *string.punctuation, *CHARACTERS, *INSTRUCTION])
    root.mkdir(exist_ok=True)
    (root / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    tokenizer = BertTokenizer(vocab=str(root / "vocab.txt"), model_max_length=64)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    return prepared(root, BertModel(config), tokenizer, **settings)


def xlm_roberta(root: Path, **settings: object) -> Path:
    """Position ids begin after the padding id, 1; 66 positions are 64 tokens."""
    vocabulary = dict.fromkeys(
        ["<s>", "<pad>", "</s>", "<unk>", "▁", *string.printable[:94], *CHARACTERS, *INSTRUCTION]
    )
    tokenizer = Tokenizer(models.Unigram([(token, -2.0 - i / 100) for i, token in enumerate(vocabulary)], unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.decoder = decoders.Metaspace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        cls_token="<s>", sep_token="</s>", model_max_length=512,
    )  # fmt: skip
    config = XLMRobertaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=66,
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    root.mkdir(exist_ok=True)
    return prepared(root, XLMRobertaModel(config), fast, **settings)


def qwen2(root: Path, **settings: object) -> Path:
    """A decoder whose tokenizer closes texts with the token that also is its padding, as Qwen3-Embedding's does."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*alphabet, "<|endoftext|>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", pair="$A $B <|endoftext|>", special_tokens=[("<|endoftext|>", 256)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>", model_max_length=512
    )
    config = Qwen2Config(
        vocab_size=257,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=64,
        max_position_embeddings=512,
        pad_token_id=256,
        eos_token_id=256,
    )
    root.mkdir(exist_ok=True)
    return prepared(root, Qwen2Model(config), fast, **({"query_instruction": "问："} | settings))


MODELS = {"bert": bert, "xlm_roberta": xlm_roberta, "qwen2": qwen2}


def query_sequences(directory: Path, texts: list[str]) -> list[NDArray[np.int64]]:
    instruction = read_settings(directory).query_instruction
    return tokenize_queries(load_tokenizer(directory), texts, instruction, MAX_LEN)


def passage_sequences(directory: Path, texts: list[str]) -> list[NDArray[np.int64]]:
    """As the encode stage makes them: contents without special tokens, framed afterwards."""
    tokenizer = load_tokenizer(directory)
    around = frame(tokenizer, read_settings(directory).passage_instruction)
    contents = tokenizer.encode_batch(texts, add_special_tokens=False)
    return [around.around(np.array(content.ids, dtype=np.uint16), MAX_LEN) for content in contents]


def embed(directory: Path, sequences: list[NDArray[np.int64]], batch_tokens: int = 300) -> NDArray[np.float32]:
    settings: Settings = read_settings(directory)
    model = load_backbone(directory, torch.float32, torch.device("cpu"))
    out = np.full((len(sequences), model.config.hidden_size), np.nan, dtype=np.float32)
    lengths = np.array([len(sequence) for sequence in sequences])
    encode(
        model,
        sequences.__getitem__,
        lengths,
        out,
        pooling=settings.pooling,
        normalized=settings.normalize,
        pad_id=pad_token_id(directory),
        batch_tokens=batch_tokens,
    )
    return out


def flag_model(directory: Path) -> FlagModel:
    settings = read_settings(directory)
    return FlagModel(
        str(directory),
        pooling_method=settings.pooling,
        normalize_embeddings=settings.normalize,
        query_instruction_for_retrieval=settings.query_instruction,
        passage_instruction_for_retrieval=settings.passage_instruction or None,
        use_fp16=False,
        devices="cpu",
        batch_size=7,
    )


def sentence_transformer(directory: Path) -> SentenceTransformer:
    model = SentenceTransformer(str(directory), device="cpu")
    model.max_seq_length = MAX_LEN
    return model


def assert_close(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
    assert ours.shape == theirs.shape
    assert theirs.std(axis=0).min() > 1e-2, "the texts' vectors differ, or the comparison would show nothing"
    assert np.abs(ours - theirs).max() < TOLERANCE


# Instructions that end a word for the model's tokenizer: those that would grow together with a text are tokenised
# apart from it all the same (passages are tokenised once, before their instruction is known).
PASSAGE_INSTRUCTIONS = [("bert", "用于检索："), ("xlm_roberta", "passage: "), ("qwen2", "文：")]


def test_some_texts_are_longer_than_the_maximum_and_some_shorter(tmp_path: Path) -> None:
    directory = bert(tmp_path, pooling="cls")
    lengths = [len(sequence) for sequence in passage_sequences(directory, TEXTS)]
    assert lengths.count(MAX_LEN) > 3
    assert min(lengths) == 2
    assert len(set(lengths)) > 15


@pytest.mark.parametrize(
    ("name", "pooling", "normalize"),
    [
        ("bert", "cls", True),
        ("bert", "mean", True),
        ("bert", "mean", False),
        ("xlm_roberta", "cls", True),
        ("xlm_roberta", "mean", True),
    ],
)
def test_embeddings_equal_flag_models(tmp_path: Path, name: str, pooling: str, normalize: bool) -> None:
    directory = MODELS[name](tmp_path, pooling=pooling, normalize=normalize)
    oracle = flag_model(directory)
    assert_close(embed(directory, passage_sequences(directory, TEXTS)), oracle.encode_corpus(TEXTS, max_length=MAX_LEN))
    assert_close(embed(directory, query_sequences(directory, TEXTS)), oracle.encode_queries(TEXTS, max_length=MAX_LEN))


@pytest.mark.parametrize(("name", "instruction"), PASSAGE_INSTRUCTIONS)
def test_embeddings_with_a_passage_instruction_equal_flag_models(tmp_path: Path, name: str, instruction: str) -> None:
    directory = MODELS[name](tmp_path, pooling="mean", passage_instruction=instruction)
    ours = embed(directory, passage_sequences(directory, TEXTS))
    assert_close(ours, flag_model(directory).encode_corpus(TEXTS, max_length=MAX_LEN))


@pytest.mark.parametrize(
    ("name", "pooling"),
    [
        ("bert", "cls"),
        ("bert", "mean"),
        ("xlm_roberta", "cls"),
        ("xlm_roberta", "last_token"),
        ("qwen2", "mean"),
        ("qwen2", "last_token"),
    ],
)
def test_embeddings_equal_sentence_transformers(tmp_path: Path, name: str, pooling: str) -> None:
    directory = MODELS[name](tmp_path, pooling=pooling, passage_instruction=dict(PASSAGE_INSTRUCTIONS)[name])
    oracle = sentence_transformer(directory)
    texts = [text.strip() for text in TEXTS if text.strip()]
    assert_close(embed(directory, passage_sequences(directory, texts)), oracle.encode_document(texts))
    assert_close(embed(directory, query_sequences(directory, texts)), oracle.encode_query(texts))


def test_queries_carry_their_instruction_and_passages_do_not(tmp_path: Path) -> None:
    directory = bert(tmp_path, pooling="mean")
    tokenizer = AutoTokenizer.from_pretrained(directory)
    ids = tokenizer(INSTRUCTION, add_special_tokens=False).input_ids
    assert len(ids) == len(INSTRUCTION)
    assert all(query[1 : len(ids) + 1].tolist() == ids for query in query_sequences(directory, TEXTS))
    expected = tokenizer(TEXTS, truncation=True, max_length=MAX_LEN).input_ids
    assert [passage.tolist() for passage in passage_sequences(directory, TEXTS)] == expected


@pytest.mark.parametrize("name", ["bert", "xlm_roberta", "qwen2"])
@pytest.mark.parametrize("batch_tokens", [1, 200, 10**6])
def test_embeddings_do_not_depend_on_the_batch(tmp_path: Path, name: str, batch_tokens: int) -> None:
    """Against each text alone in transformers, without padding or mask; longest and shortest may share a batch."""
    directory = MODELS[name](tmp_path, pooling="mean")
    sequences = passage_sequences(directory, TEXTS)
    model = AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
    with torch.inference_mode():
        alone = [model(torch.from_numpy(sequence)[None]).last_hidden_state[0].mean(0) for sequence in sequences]
    expected = torch.nn.functional.normalize(torch.stack(alone), dim=-1).numpy()
    assert_close(embed(directory, sequences, batch_tokens), expected)


@pytest.mark.parametrize("texts", [TEXTS, ["同样长的句子", "这里也是六个"]], ids=["padded", "all of one length"])
def test_last_token_pooling_of_a_decoder_equals_transformers_and_flag_embeddings(
    tmp_path: Path, texts: list[str]
) -> None:
    """FlagEmbedding's pooling takes a batch whose last column has no padding for one that is padded on the left."""
    directory = qwen2(tmp_path, pooling="last_token")
    sequences = passage_sequences(directory, texts)
    ours = embed(directory, sequences, batch_tokens=10**6)
    model = AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
    trained = BiEncoderOnlyEmbedderModel(model, sentence_pooling_method="last_token", normalize_embeddings=True)
    ids, mask = (torch.from_numpy(array) for array in pad(sequences, pad_token_id(directory)))
    with torch.inference_mode():
        alone = [model(torch.from_numpy(sequence)[None]).last_hidden_state[0, -1] for sequence in sequences]
        theirs = trained.encode({"input_ids": ids, "attention_mask": mask})
    assert np.abs(ours - torch.nn.functional.normalize(torch.stack(alone), dim=-1).numpy()).max() < TOLERANCE
    assert np.abs(ours - theirs.numpy()).max() < TOLERANCE


@pytest.mark.parametrize("pooling", ["cls", "mean", "last_token"])
def test_pooling_reads_no_padding(pooling: str) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 5, 4, generator=generator)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    expected = {
        "cls": [hidden[0, 0], hidden[1, 0], hidden[2, 0]],
        "mean": [hidden[0].mean(0), hidden[1, :2].mean(0), hidden[2, 0]],
        "last_token": [hidden[0, 4], hidden[1, 1], hidden[2, 0]],
    }
    torch.testing.assert_close(pool(hidden, mask, pooling), torch.stack(expected[pooling]))


def test_xlm_roberta_is_padded_with_its_own_id_and_reads_two_tokens_fewer_than_it_has_positions(tmp_path: Path) -> None:
    directory = xlm_roberta(tmp_path, pooling="cls")
    assert pad_token_id(directory) == 1
    assert read_settings(directory).max_tokens == 64
    longest = np.r_[0, np.full(62, 8), 2]
    assert np.isfinite(embed(directory, [longest, longest[:9]])).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_vector_that_is_not_finite_names_its_text(tmp_path: Path, value: float, normalize: bool) -> None:
    directory = bert(tmp_path, pooling="cls", normalize=normalize)
    texts = ["的一是", "不了有和人这中大为", "上个国", "我"]
    sequences = passage_sequences(directory, texts)
    model = load_backbone(directory, torch.float32, torch.device("cpu"))
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[int(sequences[2][1])] = value
    out = np.zeros((4, 32), dtype=np.float32)
    lengths = np.array([len(sequence) for sequence in sequences])
    with pytest.raises(EmbedTuneError, match="text 2 is not finite"):
        encode(
            model,
            sequences.__getitem__,
            lengths,
            out,
            pooling="cls",
            normalized=normalize,
            pad_id=0,
            batch_tokens=40,
        )


def test_a_value_too_large_for_the_output_raises(tmp_path: Path) -> None:
    """Finite in float32, infinite in the float16 that is stored."""
    directory = bert(tmp_path, pooling="cls", normalize=False)
    model = load_backbone(directory, torch.float32, torch.device("cpu"))
    with torch.no_grad():
        model.encoder.layer[-1].output.LayerNorm.weight.fill_(1e6)
    sequences = passage_sequences(directory, ["的一是"])
    with pytest.raises(
        EmbedTuneError, match=r"numbers of up to .*, in float16, holds 65504 at most; write `normalize: true`"
    ):
        encode(
            model,
            sequences.__getitem__,
            np.array([5]),
            np.zeros((1, 32), dtype=np.float16),
            pooling="cls",
            normalized=False,
            pad_id=0,
            batch_tokens=40,
        )
