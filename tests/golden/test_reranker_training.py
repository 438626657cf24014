"""Cross-encoders trained end to end: they learn, go on where killed, are written, and are measured on dev."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytrec_eval
import torch
import torch.distributed as dist
import torch.multiprocessing
from FlagEmbedding import FlagReranker
from sentence_transformers import CrossEncoder as SentenceTransformersCrossEncoder

from embedtune.compute import distributed
from embedtune.core.errors import ParameterError
from embedtune.data.corpus import Query
from embedtune.data.passages import read_texts
from embedtune.evaluation.dev_reranking import RerankingSet
from embedtune.models.cross_encoder import CrossEncoder, cross_encoder_of, load_cross_encoder
from embedtune.retrieval.rerank import PassageReader
from embedtune.training import checkpoints
from embedtune.training.fine_tune import Trained, write_tuned
from embedtune.training.objectives.ranking import Ranking
from embedtune.training.optimisation import Optimisation
from tests.forkserver import forkserver
from tests.golden.reranking import CPU, MAX_LEN, graded_rows, pair_set
from tests.golden.training import Data, assert_equal_runs, first_gradients, largest_difference, run, weights

OBJECTIVES = ["listwise", "pairwise", "mse", "bce"]
SHORT: dict[str, Any] = {"num_train_epochs": 1}


def trained_on_grades(reranker: Path, data: Data, scratch: Path, objective: str, **options: Any) -> Trained:
    """Seventeen questions, in two batches an epoch."""
    rows = graded_rows(replace(data, rows=data.rows[:17]))
    questions = pair_set(reranker, data, rows, compared=objective in ("listwise", "pairwise"))
    return run(reranker, questions, scratch, objective=Ranking(objective), **options)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_loss_falls(reranker: Path, data: Data, tmp_path: Path, objective: str) -> None:
    log = trained_on_grades(reranker, data, tmp_path, objective, num_train_epochs=5).record.log
    losses = [line["loss"] for line in log]
    assert np.mean(losses[-2:]) < 0.95 * np.mean(losses[:2])
    assert np.mean([line["accuracy"] for line in log[-2:]]) > np.mean([line["accuracy"] for line in log[:2]])


@pytest.mark.parametrize("objective", ["listwise", "pairwise"])
def test_groups_of_one_document_are_refused_before_training(
    reranker: Path, data: Data, tmp_path: Path, objective: str
) -> None:
    questions = pair_set(reranker, data, group_size=1)
    with pytest.raises(ParameterError, match="train_group_size: 1 leaves"):
        run(reranker, questions, tmp_path, objective=Ranking(objective))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("objective", ["listwise", "pairwise"])
def test_chunks_and_accumulated_batches_change_nothing_but_rounding(
    reranker: Path, data: Data, tmp_path: Path, objective: str
) -> None:
    """One batch of eight questions against two of four in a step, which weigh differently, and against chunks."""
    whole = trained_on_grades(reranker, data, tmp_path / "whole", objective, **SHORT).record.log
    halves: dict[str, Any] = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    for name, other in {"halves": halves, "chunks": {"tokens_in_memory": 150}}.items():
        log = trained_on_grades(reranker, data, tmp_path / name, objective, **SHORT, **other).record.log
        for line, expected in zip(log, whole, strict=True):
            assert line == pytest.approx(expected, rel=1e-3)


def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    take = Optimisation.step

    def killed(self: Optimisation, batches: Any, number: int, *more: Any) -> Any:
        if number == step:
            raise KeyboardInterrupt
        return take(self, batches, number, *more)

    monkeypatch.setattr(Optimisation, "step", killed)


@pytest.mark.parametrize(
    ("objective", "options"),
    [
        ("listwise", {}),
        ("pairwise", {"tokens_in_memory": 600}),
        ("listwise", {"method": "lora", "lora_dropout": 0.1, "precision": "bf16"}),
    ],
    ids=["listwise", "pairwise-in-chunks", "lora-bf16"],
)
def test_a_killed_training_goes_on_bit_equal(
    reranker_with_dropout: Path,
    data: Data,
    tmp_path: Path,
    objective: str,
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With dropout; killed in the fourth of six steps, with a checkpoint after the second."""
    base, saved = reranker_with_dropout, {"save_strategy": "steps", "save_steps": 2}
    whole = trained_on_grades(base, data, tmp_path / "whole", objective, **options, **saved)
    with monkeypatch.context() as patch:
        killed_at(3, patch)
        with pytest.raises(KeyboardInterrupt):
            trained_on_grades(base, data, tmp_path / "killed", objective, **options, **saved)
    assert checkpoints.step_of(checkpoints.last(tmp_path / "killed" / "run")) == 2
    resumed = trained_on_grades(base, data, tmp_path / "killed", objective, **options, **saved)
    assert_equal_runs(whole, resumed)
    assert len(whole.record.log) == 6


def scores_of(model: Any, texts: list[str]) -> np.ndarray:
    return model.scores_of_texts("谁建的书院？", texts, max_len=MAX_LEN)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_is_written_scores_as_what_was_trained_in_both_peers(
    reranker: Path, data: Data, tmp_path: Path, method: str
) -> None:
    """An adapter is merged, with its head."""
    learning_rate = 1e-3 if method == "full" else 1e-2
    trained = trained_on_grades(
        reranker, data, tmp_path, "pairwise", method=method, lora_r=2, learning_rate=learning_rate
    )
    losses = [line["loss"] for line in trained.record.log]
    assert losses[-1] < losses[0]
    target = tmp_path / "written"
    target.mkdir()
    write_tuned(trained, reranker, target, method)
    assert (target / "adapter" / "adapter_config.json").is_file() is (method == "lora")
    texts = [f"第{i}条合同自双方签字之日起生效" * (1 + i % 3) for i in range(12)]
    expected = scores_of(cross_encoder_of(trained.backbone, reranker), texts)
    assert np.abs(expected - scores_of(load_cross_encoder(reranker, CPU), texts)).max() > 0.01
    written = load_cross_encoder(target, CPU)
    np.testing.assert_allclose(scores_of(written, texts), expected, atol=1e-5)
    before = load_cross_encoder(reranker, CPU).model.state_dict()
    for name, tensor in written.model.state_dict().items():
        if any(part in name for part in ("query.weight", "pooler.dense.weight", "classifier.weight")):
            assert not torch.equal(tensor, before[name]), name
    pairs = [("谁建的书院？", text) for text in texts]
    peer = SentenceTransformersCrossEncoder(str(target), device="cpu", max_length=MAX_LEN)
    np.testing.assert_allclose(peer.predict(pairs), expected, atol=1e-4)
    flag = FlagReranker(str(target), use_fp16=False, devices="cpu", max_length=MAX_LEN)
    np.testing.assert_allclose(np.array(flag.compute_score(pairs)), expected, atol=1e-4)


FIRST = 16  # questions of the small data set, which are learned and asked on dev


def read_of(data: Data, document: int) -> int:
    """The passage of a document that dev reads: the first one that those questions learn."""
    learned = {passage for row in data.rows[:FIRST] for passage in row.positives + row.negatives}
    return next(passage for passage in data.passages.of_document(document).tolist() if passage in learned)


def dev_of(reranker: Path, data: Data) -> RerankingSet:
    """The first questions with the documents of their rows, the negatives' first."""
    rows, ids = data.rows[:FIRST], data.passages.document_ids
    queries, documents = [], np.full((len(rows), 4), -1, dtype=np.int32)
    for number, row in enumerate(rows):
        own = dict.fromkeys(data.passages.document[row.negatives + row.positives].tolist())
        documents[number, : len(own)] = list(own)
        relevant = data.passages.document[row.positives]
        queries.append(Query(row.query_id, row.query, {ids[document]: 1 for document in relevant}))
    vectors = np.zeros((len(data.passages), 1), dtype=np.float16)
    vectors[[read_of(data, document) for document in np.unique(documents[documents >= 0]).tolist()]] = 1
    corpus = data.mined.parent / "corpus.jsonl"
    reader = PassageReader(data.passages, corpus, lambda asked: np.ones((len(asked), 1), np.float16), vectors, 1)
    model = load_cross_encoder(reranker, CPU)
    return RerankingSet(queries, reader.pairs(model, queries, documents), ids, model, MAX_LEN)


def ndcg_of_peers(directory: Path, data: Data, dev: RerankingSet) -> float:
    """The mean NDCG@10 that trec_eval gives the dev questions by FlagEmbedding's scores."""
    flag = FlagReranker(str(directory), use_fp16=False, devices="cpu", max_length=MAX_LEN)
    found: dict[str, dict[str, float]] = {}
    for query, documents in zip(dev.queries, dev.pairs.documents.tolist(), strict=True):
        own = [document for document in documents if document >= 0]
        numbers = np.array([read_of(data, document) for document in own])
        texts = read_texts(data.mined.parent / "corpus.jsonl", data.passages, numbers)
        scores = flag.compute_score([(query.text, text) for text in texts])
        found[query.id] = {dev.document_ids[document]: float(s) for document, s in zip(own, scores, strict=True)}
    judged = {query.id: query.judgments for query in dev.queries}
    values = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut.10"}).evaluate(found)
    return float(np.mean([values[query.id]["ndcg_cut_10"] for query in dev.queries]))


def test_dev_is_measured_as_by_the_peers(reranker: Path, data: Data, tmp_path: Path) -> None:
    """NDCG rises as the training learns the dev questions; the model that is kept has the best one."""
    dev, questions = dev_of(reranker, data), pair_set(reranker, replace(data, rows=data.rows[:FIRST]))
    asked: dict[str, Any] = {"dev": dev, "eval_strategy": "steps", "eval_steps": 5, "num_train_epochs": 6}
    trained = run(reranker, questions, tmp_path, objective=Ranking("listwise"), **asked)
    steps = [line["step"] for line in trained.record.evaluations]
    found = [line["ndcg@10"] for line in trained.record.evaluations]
    assert steps == [5, 10, 12]
    assert trained.record.best_step == steps[found.index(max(found))]
    assert max(found) > ndcg_of_peers(reranker, data, dev) + 0.05
    target = tmp_path / "written"
    target.mkdir()
    write_tuned(trained, reranker, target, "full")
    assert ndcg_of_peers(target, data, dev) == pytest.approx(max(found), abs=1e-6)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_best_step_becomes_the_model_with_its_head(
    reranker: Path, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Four steps, each evaluated; the measure of dev is scripted, and the second one's is the best."""
    seen: list[dict[str, torch.Tensor]] = []

    def score(self: RerankingSet, model: CrossEncoder, **_: Any) -> pd.DataFrame:
        seen.append({name: tensor.clone() for name, tensor in model.model.state_dict().items()})
        return pd.DataFrame({"ndcg@10": [(0.2, 0.9, 0.9, 0.3)[len(seen) - 1]] * 2})

    monkeypatch.setattr(RerankingSet, "score", score)
    asked: dict[str, Any] = {"dev": dev_of(reranker, data), "eval_strategy": "steps", "eval_steps": 1}
    trained = trained_on_grades(
        reranker, data, tmp_path, "pairwise", method=method, warmup_ratio=0.0, num_train_epochs=2, **asked
    )
    assert trained.record.best_step == 2, "the first of equals"
    final = weights(trained)
    assert all(torch.equal(tensor, seen[1][name]) for name, tensor in final.items())
    moved = [name for name, tensor in final.items() if not torch.equal(tensor, seen[3][name])]
    for part in ("query", "pooler", "classifier"):
        assert any(part in name for name in moved), f"{part} has been trained since"


def test_evaluations_change_nothing_of_the_training(reranker_with_dropout: Path, data: Data, tmp_path: Path) -> None:
    dev = dev_of(reranker_with_dropout, data)
    options: dict[str, Any] = {"num_train_epochs": 2, "tokens_in_memory": 500}
    plain = trained_on_grades(reranker_with_dropout, data, tmp_path / "plain", "pairwise", **options)
    evaluated = trained_on_grades(
        reranker_with_dropout,
        data,
        tmp_path / "dev",
        "pairwise",
        dev=dev,
        eval_strategy="steps",
        eval_steps=1,
        **options,
    )
    assert len(evaluated.record.evaluations) == 4
    assert evaluated.record.log == plain.record.log


TRAININGS: dict[str, dict[str, Any]] = {
    "listwise": {},
    "pairwise": {"tokens_in_memory": 150},
    "bce": {"gradient_accumulation_steps": 2, "method": "lora"},
}


def small_run(reranker: Path, data: Data, scratch: Path, objective: str, batch_size: int) -> dict[str, Any]:
    """An epoch of two batches: the gradients of its first step, its log and its evaluation on dev."""
    with first_gradients() as first:
        rows = graded_rows(replace(data, rows=data.rows[:FIRST]))
        questions = pair_set(reranker, data, rows, compared=objective != "bce")
        trained = run(
            reranker,
            questions,
            scratch,
            objective=Ranking(objective),
            per_device_train_batch_size=batch_size,
            num_train_epochs=1,
            dev=dev_of(reranker, data),
            eval_strategy="epoch",
            **TRAININGS[objective],
        )
    return {"gradients": first, "log": trained.record.log, "dev": trained.record.evaluations}


def worker(rank: int, port: int, reranker: Path, data: Data, scratch: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    results = {name: small_run(reranker, data, scratch / name, name, batch_size=4) for name in TRAININGS}
    results["everywhere"] = distributed.all_gather_objects([results[name]["dev"] for name in TRAININGS])
    if rank == 0:
        torch.save(results, scratch / "results.pt")
    dist.destroy_process_group()


def test_two_processes_give_the_gradient_loss_and_evaluation_of_one(reranker: Path, data: Data, tmp_path: Path) -> None:
    """Each takes four of a batch's eight questions, whose documents weigh differently, and half of dev's pairs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    forkserver()  # loads what the processes need before they are forked from it
    torch.multiprocessing.start_processes(worker, (port, reranker, data, tmp_path), nprocs=2, start_method="forkserver")
    ours = torch.load(tmp_path / "results.pt", weights_only=False)
    assert ours["everywhere"][0] == ours["everywhere"][1]
    for name in TRAININGS:
        alone = small_run(reranker, data, tmp_path / "alone" / name, name, batch_size=8)
        assert largest_difference(ours[name]["gradients"], alone["gradients"]) < 1e-3
        for part in ("log", "dev"):
            for line, expected in zip(ours[name][part], alone[part], strict=True):
                assert line == pytest.approx(expected, rel=1e-3, abs=1e-4)
