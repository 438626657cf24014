"""A cross-encoder's scores against FlagEmbedding's reranker and sentence-transformers', and what it chooses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from FlagEmbedding import FlagReranker
from scipy.special import expit
from sentence_transformers import CrossEncoder as SentenceTransformersCrossEncoder
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from embedtune.core.errors import EmbedTuneError, ParameterError
from embedtune.models.adapters import load_for_training, trained_parameters
from embedtune.models.cross_encoder import load_cross_encoder
from embedtune.models.merge import merge
from embedtune.models.new_head import set_activation, write_with_new_head
from embedtune.models.pair_tokens import pair_frame
from embedtune.models.sample_model import LONGEST, write_sample_model
from embedtune.models.saving import save_trained
from tests.golden.test_encode import random_texts

CPU = torch.device("cpu")


@pytest.mark.parametrize("batch_tokens", [1, 150, 4096])
def test_scores_equal_the_peers(far_apart: Path, batch_tokens: int) -> None:
    question = "不了有和人这中大为？"
    passages = random_texts(20, seed=3)[1:]  # the first one is empty, which FlagEmbedding takes for no second text
    ours = load_cross_encoder(far_apart, CPU).scores_of_texts(question, passages, max_len=48, batch_tokens=batch_tokens)
    pairs = [(question, passage) for passage in passages]
    flag = FlagReranker(str(far_apart), use_fp16=False, devices="cpu", max_length=48)
    theirs = np.array(flag.compute_score(pairs, normalize=False))
    assert ours.std() > 0.01
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    peer = SentenceTransformersCrossEncoder(str(far_apart), device="cpu", max_length=48)
    np.testing.assert_allclose(expit(ours), peer.predict(pairs), atol=1e-5)


@pytest.mark.parametrize("made", ["cls", "mean"])
def test_an_embedding_model_with_a_new_head_scores_alike_in_both_peers(tmp_path: Path, made: str) -> None:
    embedder, target = tmp_path / "embedder", tmp_path / "reranker"
    embedder.mkdir()
    target.mkdir()
    write_sample_model(embedder, seed=3, pooling=made)
    write_with_new_head(embedder, target, seed=1)
    set_activation(target, probability=False)
    pairs = [("谁建的书院？", passage) for passage in random_texts(8, seed=3)[1:]]
    reranker = load_cross_encoder(target, CPU)
    ours = reranker.scores_of_texts(pairs[0][0], [passage for _, passage in pairs], max_len=LONGEST)
    assert ours.std() > 1e-4
    np.testing.assert_allclose(
        ours, SentenceTransformersCrossEncoder(str(target), device="cpu").predict(pairs), atol=1e-5
    )
    flag = FlagReranker(str(target), use_fp16=False, devices="cpu")
    np.testing.assert_allclose(ours, np.array(flag.compute_score(pairs)), atol=1e-5)
    assert not (target / "modules.json").exists()
    assert reranker.max_tokens == LONGEST


def test_a_head_is_drawn_by_its_seed(tmp_path: Path, sample_model: Path) -> None:
    heads = []
    for number, seed in enumerate((1, 1, 2)):
        (tmp_path / str(number)).mkdir()
        write_with_new_head(sample_model, tmp_path / str(number), seed)
        heads.append(load_cross_encoder(tmp_path / str(number), CPU).model.classifier.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize("method", ["lora"])
def test_an_adapter_of_a_cross_encoder_has_its_head_and_is_merged(tmp_path: Path, far_apart: Path, method: str) -> None:
    adapted = load_for_training(
        far_apart,
        method,
        lora_r=4,
        lora_alpha=8,
        lora_dropout=0.0,
        lora_target_modules=None,
        qlora_bits=4,
        compute_dtype=torch.float32,
        device=CPU,
    )
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in trained_parameters(adapted):
            parameter.add_(torch.randn_like(parameter) * 0.05)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "merged").mkdir()
    save_trained(adapted, far_apart, tmp_path / "adapter")
    merge(far_apart, tmp_path / "adapter", tmp_path / "merged")
    before, after = load_cross_encoder(far_apart, CPU), load_cross_encoder(tmp_path / "merged", CPU)
    assert not torch.equal(before.model.classifier.weight, after.model.classifier.weight)
    assert not torch.equal(before.model.bert.pooler.dense.weight, after.model.bert.pooler.dense.weight)


def test_a_pair_is_framed_as_the_tokenizer_frames_it_and_only_the_document_is_cut(far_apart: Path) -> None:
    tokenizer = Tokenizer.from_file(str(far_apart / "tokenizer.json"))
    frame = pair_frame(tokenizer)
    query, document = "书院是谁建的？", "龙岭书院得名自铁锚。" * 5
    tokens = [np.array(tokenizer.encode(text, add_special_tokens=False).ids) for text in (query, document)]
    loaded = AutoTokenizer.from_pretrained(far_apart)
    for longest in (16, 20, 300):
        theirs = loaded(query, document, truncation="only_second", max_length=longest)
        assert frame.ids(*tokens, longest).tolist() == theirs["input_ids"]
        assert frame.token_types(*tokens, longest).tolist() == theirs["token_type_ids"]
        counts = [np.array([len(text)]) for text in tokens]
        assert frame.lengths(counts[0], counts[1], longest).tolist() == [len(theirs["input_ids"])]
    assert set(frame.token_types(*tokens, 300).tolist()) == {0, 1}


def test_in_bf16_near_scores_stay_apart(far_apart: Path) -> None:
    passages = random_texts(40, seed=5)[1:]
    exact = load_cross_encoder(far_apart, CPU).scores_of_texts("谁？", passages, max_len=48)
    rounded = load_cross_encoder(far_apart, CPU, torch.bfloat16).scores_of_texts("谁？", passages, max_len=48)
    assert len(np.unique(rounded)) == len(np.unique(exact))
    assert np.corrcoef(exact, rounded)[0, 1] > 0.98


def test_a_pair_longer_than_the_model_reads_is_refused(far_apart: Path) -> None:
    reranker = load_cross_encoder(far_apart, CPU)
    with pytest.raises(ParameterError, match="expected at most 512"):
        reranker.scores_of_texts("a", ["b"], max_len=513)
    with pytest.raises(ParameterError, match="leaves no room"):
        reranker.scores_of_texts("a", ["b"], max_len=8)


def test_a_model_without_a_head_of_one_output_is_refused(sample_model: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbedTuneError, match="expected a cross-encoder with one output"):
        load_cross_encoder(sample_model, CPU)
    with pytest.raises(EmbedTuneError, match="cannot be loaded as a cross-encoder"):
        load_cross_encoder(tmp_path, CPU)
