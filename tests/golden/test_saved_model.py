"""A tuned model's directory in sentence-transformers, FlagEmbedding and plain transformers: the same embeddings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from FlagEmbedding import FlagModel
from numpy.typing import NDArray
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer

from embedtune.models.encode import encode, load_backbone, pad_token_id
from embedtune.models.saving import save_model
from embedtune.models.settings import Settings, read_settings, write_settings
from embedtune.models.tokenization import frame, load_tokenizer, tokenize_queries

TOLERANCE = 1e-5
MAX_LEN = 512  # the sample model's own
TEXTS = [
    "合同自双方签字之日起生效。",
    "The model bge-base-zh-v1.5 has 12 layers",
    "北京",
    "第二十条 国家对耕地实行特殊保护，严格控制耕地转为非耕地。" * 30,
    "一二三四五六七八九十。",
]


def tuned(base: Path, root: Path, dtype: torch.dtype = torch.float32, **changed: object) -> Path:
    """`save_model` of the base with every weight changed, from a base whose settings are changed by `changed`."""
    settings: Settings = replace(read_settings(base), **changed)
    copy, target = root / "base", root / "finetuned"
    copy.mkdir()
    target.mkdir()
    backbone = AutoModel.from_pretrained(base, dtype=dtype)
    save_model(backbone, base, copy)
    write_settings(copy, settings, backbone.config.hidden_size)
    backbone = AutoModel.from_pretrained(copy, dtype=torch.float32)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in backbone.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    save_model(backbone, copy, target)
    return target


def our_embeddings(directory: Path, texts: list[str], queries: bool) -> NDArray[np.float32]:
    settings, tokenizer = read_settings(directory), load_tokenizer(directory)
    if queries:
        sequences = tokenize_queries(tokenizer, texts, settings.query_instruction, settings.max_tokens)
    else:
        around = frame(tokenizer, settings.passage_instruction)
        encodings = tokenizer.encode_batch(texts, add_special_tokens=False)
        sequences = [around.around(np.array(encoding.ids), settings.max_tokens) for encoding in encodings]
    model = load_backbone(directory, torch.float32, torch.device("cpu"))
    out = np.empty((len(texts), model.config.hidden_size), dtype=np.float32)
    encode(
        model,
        sequences.__getitem__,
        np.array([len(sequence) for sequence in sequences]),
        out,
        pooling=settings.pooling,
        normalized=settings.normalize,
        pad_id=pad_token_id(directory),
        batch_tokens=2048,
    )
    return out


def assert_close(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
    assert ours.shape == theirs.shape
    assert theirs.std(axis=0).min() > 1e-4, "the texts' vectors differ, or the comparison would show nothing"
    assert np.abs(ours - theirs).max() < TOLERANCE


SETTINGS = pytest.mark.parametrize(
    "changed",
    [
        {},
        {"pooling": "cls"},
        {"pooling": "cls", "normalize": False},
        {"passage_instruction": "文档：", "query_instruction": ""},
    ],
    ids=["as the sample", "cls", "cls, not normalised", "instruction for passages"],
)


@SETTINGS
def test_sentence_transformers_gives_our_embeddings(
    tmp_path: Path, sample_model: Path, changed: dict[str, object]
) -> None:
    directory = tuned(sample_model, tmp_path, **changed)
    model = SentenceTransformer(str(directory), device="cpu")
    assert_close(our_embeddings(directory, TEXTS, queries=True), model.encode_query(TEXTS))
    assert_close(our_embeddings(directory, TEXTS, queries=False), model.encode_document(TEXTS))


def test_sentence_transformers_gives_our_embeddings_with_last_token_pooling(tmp_path: Path, sample_model: Path) -> None:
    directory = tuned(sample_model, tmp_path, pooling="last_token")
    model = SentenceTransformer(str(directory), device="cpu")
    assert_close(our_embeddings(directory, TEXTS, queries=True), model.encode_query(TEXTS))


@SETTINGS
def test_sentence_transformers_reads_pooling_normalisation_prompts_and_length(
    tmp_path: Path, sample_model: Path, changed: dict[str, object]
) -> None:
    directory = tuned(sample_model, tmp_path, **changed)
    settings = read_settings(directory)
    assert settings == replace(read_settings(sample_model), **changed)
    model = SentenceTransformer(str(directory), device="cpu")
    assert model[1].pooling_mode == settings.pooling
    assert [type(module).__name__ for module in model][2:] == ["Normalize"] * settings.normalize
    assert model.prompts == {"query": settings.query_instruction, "document": settings.passage_instruction}
    assert model.max_seq_length == MAX_LEN
    assert model.get_embedding_dimension() == 128


@SETTINGS
def test_flag_embedding_gives_our_embeddings(tmp_path: Path, sample_model: Path, changed: dict[str, object]) -> None:
    directory = tuned(sample_model, tmp_path, **changed)
    settings = read_settings(directory)
    model = FlagModel(
        str(directory),
        pooling_method=settings.pooling,
        normalize_embeddings=settings.normalize,
        query_instruction_for_retrieval=settings.query_instruction,
        passage_instruction_for_retrieval=settings.passage_instruction,
        use_fp16=False,
        devices="cpu",
    )
    assert_close(our_embeddings(directory, TEXTS, queries=True), model.encode_queries(TEXTS))
    assert_close(our_embeddings(directory, TEXTS, queries=False), model.encode_corpus(TEXTS))


def test_transformers_gives_our_embeddings(tmp_path: Path, sample_model: Path) -> None:
    directory = tuned(sample_model, tmp_path)
    model, tokenizer = AutoModel.from_pretrained(directory).eval(), AutoTokenizer.from_pretrained(directory)
    instruction = read_settings(directory).query_instruction
    assert instruction
    texts = [instruction + text for text in TEXTS]
    inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    assert inputs.input_ids.shape[1] == MAX_LEN, "the tokenizer knows its model's length"
    with torch.inference_mode():
        hidden = model(**inputs).last_hidden_state.double()
    mask = inputs.attention_mask.double()[:, :, None]
    vectors = (hidden * mask).sum(1) / mask.sum(1)
    vectors /= vectors.norm(dim=1, keepdim=True)
    assert_close(our_embeddings(directory, TEXTS, queries=True), vectors.float().numpy())


def test_the_tuned_weights_are_saved_and_the_base_stays_as_it_was(tmp_path: Path, sample_model: Path) -> None:
    before = {path.relative_to(sample_model): path.read_bytes() for path in sample_model.rglob("*") if path.is_file()}
    directory = tuned(sample_model, tmp_path)
    base = load_file(tmp_path / "base" / "model.safetensors")
    saved = load_file(directory / "model.safetensors")
    assert base.keys() == saved.keys()
    assert all(not torch.equal(base[name], saved[name]) for name in base)
    assert before == {path: (sample_model / path).read_bytes() for path in before}


def test_all_else_of_the_base_is_in_the_tuned_models_directory(tmp_path: Path, sample_model: Path) -> None:
    directory = tuned(sample_model, tmp_path)
    base = {str(path.relative_to(sample_model)) for path in sample_model.rglob("*") if path.is_file()}
    assert {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()} == base
    for name in ("tokenizer.json", "tokenizer_config.json", "modules.json", "config_sentence_transformers.json"):
        assert (directory / name).read_bytes() == (sample_model / name).read_bytes()


def test_a_model_tuned_from_a_bfloat16_base_is_saved_and_loaded_in_float32(tmp_path: Path, sample_model: Path) -> None:
    directory = tuned(sample_model, tmp_path, dtype=torch.bfloat16)
    assert {weight.dtype for weight in load_file(tmp_path / "base" / "model.safetensors").values()} == {torch.bfloat16}
    assert {weight.dtype for weight in load_file(directory / "model.safetensors").values()} == {torch.float32}
    assert json.loads((directory / "config.json").read_text(encoding="utf-8"))["dtype"] == "float32"
    model = SentenceTransformer(str(directory), device="cpu")
    assert_close(our_embeddings(directory, TEXTS, queries=True), model.encode_query(TEXTS))
