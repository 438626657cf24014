"""A cross-encoder's scores against FlagEmbedding's reranker and sentence-transformers', and what it chooses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from FlagEmbedding import FlagReranker
from scipy.special import expit
from sentence_transformers import CrossEncoder as SentenceTransformersCrossEncoder
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from embedtune.core.errors import EmbedTuneError
from embedtune.models.cross_encoder import CrossEncoder
from tests.golden.test_encode import random_texts

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, sample_model: Path) -> Path:
    """The sample's architecture with a random head of one output, and weights large enough to tell texts apart."""
    target = tmp_path_factory.mktemp("reranker")
    torch.manual_seed(0)
    config = BertConfig.from_pretrained(sample_model, num_labels=1, hidden_dropout_prob=0.0)
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(8)
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(sample_model).save_pretrained(target)
    return target


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_scores_equal_the_peers(directory: Path, batch_size: int) -> None:
    question = "不了有和人这中大为？"
    passages = random_texts(20, seed=3)[1:]  # the first one is empty, which FlagEmbedding takes for no second text
    ours = CrossEncoder(directory, CPU, torch.float32).scores(question, passages, 48, batch_size)
    pairs = [(question, passage) for passage in passages]
    flag = FlagReranker(str(directory), use_fp16=False, devices="cpu", max_length=48)
    theirs = np.array(flag.compute_score(pairs, normalize=False))
    assert ours.std() > 0.01
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    peer = SentenceTransformersCrossEncoder(str(directory), device="cpu", max_length=48)
    np.testing.assert_allclose(expit(ours), peer.predict(pairs), atol=1e-5)


def test_a_model_without_a_head_of_one_output_is_refused(sample_model: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbedTuneError, match="expected a cross-encoder with one output"):
        CrossEncoder(sample_model, CPU, torch.float32)
    with pytest.raises(EmbedTuneError, match="cannot be loaded as a cross-encoder"):
        CrossEncoder(tmp_path, CPU, torch.float32)
