"""Evaluation while training: the pipeline's own measures on the pool, the best checkpoint, early stopping."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytrec_eval
import torch
from sentence_transformers import SentenceTransformer

from embedtune.data.corpus import Query
from embedtune.data.passages import read_texts
from embedtune.evaluation.dev_evaluation import DevSet, EvaluationSet, indistinguishable_from_best
from embedtune.evaluation.dev_pool import best_documents, found_by_queries, pool_documents
from embedtune.models.encoder import Encoder, load_encoder
from embedtune.models.settings import read_settings
from embedtune.models.tokenization import frame, load_tokenizer, tokenize_queries
from embedtune.models.vector_store import open_store, write_description
from embedtune.retrieval.dense import rank_documents
from embedtune.retrieval.rankings import Rankings
from embedtune.training import fine_tune
from tests.golden.training import Data, run, training_set, weights

QUESTIONS = 15
MEASURES = ("recall@10", "ndcg@10", "mrr@10")


@pytest.fixture(scope="module")
def dev(base: Path, data: Data) -> EvaluationSet:
    """Questions that each ask for a document by its beginning, among forty of the sixty documents."""
    settings, tokenizer = read_settings(base), load_tokenizer(base)
    documents = np.arange(10, 50)
    first = data.passages.first_passage[documents[:QUESTIONS]]
    texts = [text[:14] for text in read_texts(data.mined.parent / "corpus.jsonl", data.passages, first)]
    queries = [
        Query(
            f"q{i}", text, {data.passages.document_ids[documents[i]]: 1, data.passages.document_ids[documents[-1]]: 0}
        )
        for i, text in enumerate(texts)
    ]
    tokens = tokenize_queries(tokenizer, texts, settings.query_instruction, 48)
    return EvaluationSet(
        "dev", queries, tokens, data.passages, documents, frame(tokenizer, settings.passage_instruction)
    )


@pytest.mark.parametrize("ignored", [0, 20])
def test_measures_equal_sentence_transformers_vectors_and_trec_eval(
    base: Path, data: Data, dev: EvaluationSet, ignored: int
) -> None:
    """Each question may ignore half of the documents, its relevant one not among them."""
    pool = [data.passages.document_ids[document] for document in dev.documents]
    others = [[document for document in pool if document not in query.judgments] for query in dev.queries]
    queries = zip(dev.queries, others, strict=True)
    dev = replace(dev, queries=[replace(query, ignored=left_out[:ignored]) for query, left_out in queries])
    encoder = load_encoder(base)
    table = dev.score(encoder, batch_tokens=512, cutoffs=[10])
    numbers = np.concatenate([data.passages.of_document(int(d)) for d in dev.documents])
    peer = SentenceTransformer(str(base))
    passages = peer.encode_document(read_texts(data.mined.parent / "corpus.jsonl", data.passages, numbers))
    queries = peer.encode_query([query.text for query in dev.queries])
    queries, passages = (vectors.astype(np.float16).astype(np.float64) for vectors in (queries, passages))
    run_: dict[str, dict[str, float]] = {}
    for query, scores in zip(dev.queries, queries @ passages.T, strict=True):
        best: dict[str, float] = {}
        for number, score in zip(numbers, scores, strict=True):
            document = data.passages.document_ids[data.passages.document[number]]
            best[document] = max(best.get(document, -1.0), float(score))
        run_[query.id] = {document: score for document, score in best.items() if document not in query.ignored}
    qrels = {query.id: query.judgments for query in dev.queries}
    expected = pytrec_eval.RelevanceEvaluator(qrels, {"recall.10", "ndcg_cut.10"}).evaluate(run_)
    for theirs, ours in (("recall_10", "recall@10"), ("ndcg_cut_10", "ndcg@10")):
        values = [expected[query.id][theirs] for query in dev.queries]
        assert table[ours].tolist() == pytest.approx(values, abs=1e-6)
    assert 0.2 < table["ndcg@10"].mean() < 0.99, "neither all nor nothing"
    assert not encoder.model.training


def scripted(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> list[dict[str, torch.Tensor]]:
    """Let the dev measure take these values in turn; the weights at each evaluation."""
    seen: list[dict[str, torch.Tensor]] = []

    def score(self: EvaluationSet, encoder: Encoder, **_: Any) -> pd.DataFrame:
        seen.append({name: tensor.clone() for name, tensor in encoder.model.state_dict().items()})
        value = values[len(seen) - 1]
        return pd.DataFrame({name: [value, value] for name in MEASURES})

    monkeypatch.setattr(EvaluationSet, "score", score)
    return seen


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_best_checkpoint_becomes_the_model(
    base: Path, data: Data, dev: EvaluationSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Twelve steps, evaluated after every second; the third evaluation is the best."""
    seen = scripted(monkeypatch, [0.1, 0.2, 0.9, 0.3, 0.2, 0.9])
    options = {"eval_strategy": "steps", "save_total_limit": 1, "save_strategy": "steps", "method": method}
    trained = run(base, training_set(base, data), tmp_path, dev=dev, **options)
    assert trained.record.best_step == 6, "the first of equals"
    assert [line["step"] for line in trained.record.evaluations] == [2, 4, 6, 8, 10, 12]
    final = weights(trained)
    assert all(torch.equal(tensor, seen[2][name]) for name, tensor in final.items())
    assert not all(torch.equal(tensor, seen[5][name]) for name, tensor in final.items())
    kept = sorted(path.name for path in (tmp_path / "run").glob("step-*"))
    assert kept == ["step-000006", "step-000012"]


@pytest.mark.parametrize(("patience", "last"), [(1, 6), (2, 8), (5, 12), (None, 12)])
def test_training_stops_after_so_many_evaluations_without_a_better_one(
    base: Path,
    data: Data,
    dev: EvaluationSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    patience: int,
    last: int,
) -> None:
    scripted(monkeypatch, [0.1, 0.5, 0.5, 0.4, 0.3, 0.2])
    options = {"eval_strategy": "steps", "early_stopping_patience": patience, "logging_steps": 5}
    trained = run(base, training_set(base, data), tmp_path, dev=dev, **options)
    assert trained.record.step == last
    assert trained.record.best_step == 4
    assert [line["step"] for line in trained.record.log] == [*range(5, last + 1, 5), *([last] if last % 5 else [])]


def test_evaluating_changes_nothing_else(
    base_with_dropout: Path, data: Data, dev: EvaluationSet, tmp_path: Path
) -> None:
    questions = training_set(base_with_dropout, data)
    plain = run(base_with_dropout, questions, tmp_path / "plain")
    evaluated = run(base_with_dropout, questions, tmp_path / "evaluated", dev=dev, eval_strategy="steps")
    assert evaluated.record.log == plain.record.log
    assert len(evaluated.record.evaluations) == 6
    assert {round(line["ndcg@10"], 3) for line in evaluated.record.evaluations} != {0.0}


def test_an_interrupted_training_remembers_its_evaluations(
    base: Path, data: Data, dev: EvaluationSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"eval_strategy": "steps", "save_strategy": "steps", "logging_steps": 3, "dev": dev}
    questions = training_set(base, data)
    whole = run(base, questions, tmp_path / "whole", **options)
    step = fine_tune.Optimisation.step

    def failing(self: Any, batches: Any, number: int, stop: bool) -> Any:
        if number == 7:
            raise RuntimeError("a crash")
        return step(self, batches, number, stop)

    monkeypatch.setattr(fine_tune.Optimisation, "step", failing)
    with pytest.raises(RuntimeError, match="a crash"):
        run(base, questions, tmp_path / "cut", **options)
    monkeypatch.undo()
    resumed = run(base, questions, tmp_path / "cut", **options)
    assert replace(resumed.record, seconds=0) == replace(whole.record, seconds=0)
    assert all(torch.equal(tensor, weights(whole)[name]) for name, tensor in weights(resumed).items())


def test_a_checkpoints_own_top_documents_keep_the_pool_from_leaning(base: Path, data: Data, dev: EvaluationSet) -> None:
    """Among base's top documents alone a changed model looks better than among all; with those it finds, not."""
    everything = replace(dev, documents=np.arange(60))
    encoder = load_encoder(base)
    vectors = np.empty((len(data.passages), encoder.dimension), dtype=np.float16)
    around, longest = dev.frame, data.passages.max_tokens
    lengths = np.minimum(data.passages.lengths() + around.length, longest)
    encoder.encode_tokens(lambda i: around.around(data.passages.tokens(i), longest), lengths, vectors, batch_tokens=512)
    asked = encoder.encode_queries([query.text for query in dev.queries], 48)
    ids = data.passages.document_ids
    best = rank_documents(asked, vectors, data.passages.document, ids, 3)
    pool = replace(dev, documents=pool_documents(dev.queries, best, ids, random_documents=0, seed=1))
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in encoder.model.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    own = found_by_queries(vectors, data.passages, 3, dev.queries)
    of_all, of_pool, of_both = (
        questions.score(encoder, batch_tokens=512, cutoffs=[3])["ndcg@3"].mean()
        for questions in (everything, pool, replace(pool, more=own))
    )
    assert of_pool > of_all + 0.01
    assert of_all <= of_both < of_pool


def test_a_pool_has_relevant_and_top_documents_and_a_seeded_sample() -> None:
    ids = [f"d{i}" for i in range(100)]
    queries = [Query("a", "", {"d90": 1, "d91": 0}), Query("b", "", {"d3": 2})]
    rankings = Rankings(np.array([[1, 2], [2, -1]], dtype=np.int32), np.zeros((2, 2)), np.zeros((2, 2)))
    pool = pool_documents(queries, rankings, ids, random_documents=10, seed=1).tolist()
    assert pool == sorted(set(pool))
    assert {1, 2, 3, 90} <= set(pool)
    assert len(pool) == 14
    assert pool_documents(queries, rankings, ids, random_documents=10, seed=1).tolist() == pool
    assert pool_documents(queries, rankings, ids, random_documents=10, seed=2).tolist() != pool
    assert pool_documents(queries, rankings, ids, random_documents=0, seed=1).tolist() == [1, 2, 3, 90]
    assert pool_documents(queries, rankings, ids, random_documents=999, seed=1).tolist() == list(range(100))


def test_checkpoints_within_two_standard_errors_are_named() -> None:
    """Against the best, 8, of four questions: 4 is worse on all alike, 6 on one of them, 10 is the same."""
    best = [1.0, 0.5, 0.5, 0.2]
    scores = [[value - 0.2 for value in best], [0.0, 0.5, 0.5, 0.2], best, best]
    evaluations = [{"step": step, "ndcg@10": float(np.mean(s))} for step, s in zip((4, 6, 8, 10), scores, strict=True)]
    assert indistinguishable_from_best(evaluations, scores, "ndcg@10") == [6, 10]
    assert indistinguishable_from_best(evaluations[:1], scores[:1], "ndcg@10") == []


def test_the_base_models_figure_is_that_of_its_stored_vectors(
    base: Path, data: Data, dev: EvaluationSet, tmp_path: Path
) -> None:
    """Without encoding anything: what `score` gives for the base model."""
    encoder = load_encoder(base)
    lengths = np.array([len(tokens) for tokens in dev.query_tokens])
    queries = np.empty((len(lengths), encoder.dimension), dtype=np.float16)
    encoder.encode_tokens(lambda i: dev.query_tokens[i], lengths, queries, batch_tokens=512)
    passages = np.empty((len(data.passages), encoder.dimension), dtype=np.float16)
    encoder.encode_tokens(
        lambda i: dev.frame.around(data.passages.tokens(i), 48),
        np.minimum(data.passages.lengths() + dev.frame.length, 48),
        passages,
        batch_tokens=512,
    )
    np.save(tmp_path / "queries-dev.npy", queries)
    np.save(tmp_path / "passages.npy", passages)
    write_description(tmp_path, encoder.dimension, ["passages", "queries-dev"], {})
    for asked in (dev, replace(dev, queries=[replace(query, ignored=query.relevant()) for query in dev.queries])):
        found = asked.base_means(open_store(tmp_path), [10])
        assert found == pytest.approx(asked.score(encoder, batch_tokens=512, cutoffs=[10]).mean().to_dict(), abs=1e-9)
    assert found["recall@10"] == 0, "what a question ignores is ranked for neither"


def test_a_smaller_pool_keeps_what_is_relevant_and_the_like_share_of_the_rest(
    base: Path, data: Data, dev: EvaluationSet, tmp_path: Path
) -> None:
    """Of base's best documents the first ranks, of the random ones as large a share, spread over the corpus."""
    encoder, documents = load_encoder(base), len(data.passages.document_ids)
    own = np.zeros((len(data.passages), encoder.dimension), dtype=np.float16)
    lengths = data.passages.lengths() + dev.frame.length
    encoder.encode_tokens(lambda i: dev.frame.around(data.passages.tokens(i), 64), lengths, own, batch_tokens=999)
    np.save(tmp_path / "passages.npy", own)
    np.save(tmp_path / "queries-dev.npy", own[data.passages.first_passage[dev.documents[:QUESTIONS]]])
    write_description(tmp_path, encoder.dimension, ["passages", "queries-dev"], {})
    store = open_store(tmp_path)
    by_base = best_documents(store.queries("dev"), store.passages, data.passages, 4, dev.queries)
    relevant = {data.passages.document_ids.index(d) for query in dev.queries for d in query.relevant()}
    pool = replace(dev, documents=np.arange(documents))
    whole = DevSet(pool, by_base, store)
    assert (whole.of_top(4).documents == pool.documents).all()
    sizes = []
    for top in (3, 2, 1):
        smaller = whole.of_top(top)
        kept = set(smaller.documents.tolist())
        assert relevant | set(by_base[:, :top].ravel().tolist()) <= kept
        random = sorted(set(range(documents)) - relevant - set(by_base.ravel().tolist()))
        drawn = sorted(kept & set(random))
        assert len(drawn) == len(random) * top // 4
        assert drawn[-1] > random[len(random) // 2], "not the corpus's first ones alone"
        sizes.append(smaller.tokens())
        assert smaller.more is not None and len(smaller.more(store.queries("dev"))) <= QUESTIONS * top
    assert whole.of_top(4).tokens() >= sizes[0] >= sizes[1] > sizes[2], "of a small corpus, never more than the whole"
    for query in dev.queries[:1]:
        ignoring = [replace(query, ignored=[data.passages.document_ids[by_base[0, 0]]]), *dev.queries[1:]]
        without = best_documents(store.queries("dev"), store.passages, data.passages, 4, ignoring)
        assert without[0].tolist()[:3] == by_base[0].tolist()[1:]
