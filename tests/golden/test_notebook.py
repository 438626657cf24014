"""The library as a notebook uses it: texts in, vectors and a ranking out, a fine-tune on twenty pairs; no project.

Everything happens in a folder that holds no params.yaml, no dvc.yaml and none of the pipeline's files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embedtune.core.errors import ParameterError
from embedtune.core.json_files import write_json_lines
from embedtune.data.corpus import Query
from embedtune.data.passages import open_passages
from embedtune.data.segment import write_passages
from embedtune.evaluation.measures import per_query_scores
from embedtune.mining.mined_rows import MinedRow
from embedtune.models.encoder import load_encoder
from embedtune.models.settings import check_length, read_settings
from embedtune.models.tokenization import frame, load_tokenizer, tokenize_queries
from embedtune.retrieval.bm25 import rank_by_bm25, temporary_index
from embedtune.retrieval.dense import rank_documents
from embedtune.retrieval.fusion import reciprocal_rank_fusion
from embedtune.training.fine_tune import fine_tune, write_tuned
from embedtune.training.objectives.contrastive import Contrastive
from embedtune.training.options import Batching, Optimizer
from embedtune.training.records import loss_curve
from embedtune.training.training_data import read_training_set

COLOURS = ["red", "green", "blue", "black", "white"]
THINGS = ["house", "river", "train", "garden"]
DOCUMENTS = [f"the {colour} {thing} stands here" for colour in COLOURS for thing in THINGS]
QUESTIONS = [f"where is the {thing} that is {colour}" for colour in COLOURS for thing in THINGS]
IDS = [f"d{number}" for number in range(len(DOCUMENTS))]


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recall_at_1(model: Path) -> float:
    """Of the questions, by a model's vectors."""
    encoder, numbers = load_encoder(model), np.arange(len(DOCUMENTS), dtype=np.int32)
    queries, passages = encoder.encode_queries(QUESTIONS), encoder.encode_passages(DOCUMENTS)
    rankings = rank_documents(queries, passages, numbers, IDS, depth=3)
    asked = [Query(f"q{i}", question, {IDS[i]: 1}) for i, question in enumerate(QUESTIONS)]
    return float(per_query_scores(asked, rankings, IDS, [1])["recall@1"].mean())


def test_texts_become_vectors_and_a_ranking(notebook: Path, sample_model: Path) -> None:
    encoder = load_encoder(sample_model)
    found, asked = encoder.encode_passages(DOCUMENTS), encoder.encode_queries(QUESTIONS[:2])
    assert found.shape == (20, 128)
    assert np.allclose(np.linalg.norm(found.astype(np.float64), axis=1), 1, atol=1e-3)
    dense = rank_documents(asked, found, np.arange(20, dtype=np.int32), IDS, depth=5)
    scores = asked.astype(np.float64) @ found.astype(np.float64).T
    assert dense.documents[:, 0].tolist() == scores.argmax(1).tolist()
    index = temporary_index(DOCUMENTS)
    words = rank_by_bm25(index, [Query("q0", QUESTIONS[0]), Query("q1", QUESTIONS[1])], IDS, depth=5)
    assert words.documents[:, 0].tolist() == [0, 1]
    fused = reciprocal_rank_fusion(dense, words, IDS, 3, k=60)
    assert fused.documents.shape == (2, 3)
    assert sorted(path.name for path in notebook.iterdir()) == []


def test_a_model_is_tuned_on_twenty_pairs(notebook: Path, sample_model: Path) -> None:
    corpus, passages = notebook / "corpus.jsonl", notebook / "passages"
    write_json_lines(corpus, ({"_id": i, "text": text} for i, text in zip(IDS, DOCUMENTS, strict=True)))
    tokenizer, settings = load_tokenizer(sample_model), read_settings(sample_model)
    passages.mkdir()
    write_passages(
        corpus,
        tokenizer,
        passages,
        max_tokens=64,
        frame_tokens=frame(tokenizer, settings.passage_instruction).length,
        overlap_tokens=0,
        max_passages=1,
    )
    rows = [MinedRow(f"q{i}", question, positives=[i], negatives=[]) for i, question in enumerate(QUESTIONS)]
    pairs = read_training_set(
        rows,
        tokenizer,
        open_passages(passages),
        settings,
        group_size=1,
        query_max_len=64,
        passage_max_len=64,
        distillation=False,
        seed=0,
    )
    trained = fine_tune(
        sample_model,
        pairs,
        Contrastive(temperature=0.05),
        run=notebook / "checkpoints",
        tensorboard=notebook / "tensorboard",
        batching=Batching(num_train_epochs=10, per_device_train_batch_size=10),
        optimizer=Optimizer(learning_rate=1e-3),
    )
    curve = loss_curve(trained.record.log)
    assert curve["loss"].iloc[-1] < curve["loss"].iloc[0]
    tuned = notebook / "tuned"
    tuned.mkdir()
    write_tuned(trained, sample_model, tuned, "full")
    assert recall_at_1(tuned) > recall_at_1(sample_model)


def test_an_error_names_the_parameter_that_was_given(sample_model: Path) -> None:
    with pytest.raises(ParameterError) as caught:
        check_length("passage_max_len", 1024, read_settings(sample_model))
    assert str(caught.value) == "passage_max_len: expected at most 512, the longest text the model reads, got 1024"
    with pytest.raises(ParameterError) as caught:
        tokenize_queries(load_tokenizer(sample_model), ["?"], "x" * 40, max_len=16)
    assert "params.yaml" not in str(caught.value)
