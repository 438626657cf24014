"""Losses on a question's documents: by hand, against the libraries', and through a model whole, in chunks, in parts."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from FlagEmbedding.finetune.reranker.encoder_only.base.modeling import CrossEncoderModel
from sentence_transformers import CrossEncoder as SentenceTransformersCrossEncoder
from sentence_transformers.cross_encoder import losses
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from embedtune.core.errors import ParameterError
from embedtune.mining.mined_rows import read_texts_of_rows
from embedtune.models.cross_encoder import load_cross_encoder
from embedtune.training.batches import tensors_of
from embedtune.training.grad_cache import Chunking, accumulate_gradient
from embedtune.training.network import PairScorer
from embedtune.training.objectives.objective import LossTerms
from embedtune.training.objectives.ranking import COMPARED, Ranking
from embedtune.training.pair_data import PairBatch, PairSet
from tests.golden.reranking import CPU, batch_of, graded_rows, pair_set
from tests.golden.training import Data, largest_difference

OBJECTIVES = ["listwise", "pairwise", "mse", "bce"]
LOGITS = [[0.7, -0.2, 1.4], [0.3, 0.6, -1.0, 0.65]]
RELS = [[1.0, 0.0, 0.25], [0.5, 0.5, 0.0, 0.75]]
WEIGHTS = [[2.0, 1.0, 4.0], [0.5, 3.0, 1.0, 2.0]]
UNCUT = 256  # tokens, of which no pair has so many


def loss_of(objective: str, logits: list[list[float]], batch: PairBatch) -> tuple[LossTerms, torch.Tensor]:
    """The loss of given logits, and its gradient with respect to them."""
    given = torch.tensor([logit for group in logits for logit in group]).requires_grad_()
    scorer: Any = None  # a loss looks at logits alone
    terms = Ranking(objective).loss(scorer, {"pairs": given[:, None]}, batch)
    return terms, torch.autograd.grad(terms.total, given)[0]


def listwise_by_hand(
    logits: list[list[float]], rels: list[list[float]], weights: list[list[float]]
) -> list[tuple[float, float, bool]]:
    """(weight, loss, right) of each group."""
    found = []
    for s, r, w in zip(logits, rels, weights, strict=True):
        share = [rel * weight / sum(a * b for a, b in zip(r, w, strict=True)) for rel, weight in zip(r, w, strict=True)]
        logs = [score - math.log(sum(math.exp(other) for other in s)) for score in s]
        right = r[s.index(max(s))] == max(r)
        found.append((sum(w) / len(w), -sum(a * b for a, b in zip(share, logs, strict=True)), right))
    return found


def pairwise_by_hand(
    logits: list[list[float]], rels: list[list[float]], weights: list[list[float]]
) -> list[tuple[float, float, bool]]:
    """(weight, loss, right) of each pair of documents of different relevance."""
    return [
        ((r[i] - r[j]) * w[i] * w[j], math.log(1 + math.exp(s[j] - s[i])), s[i] > s[j])
        for s, r, w in zip(logits, rels, weights, strict=True)
        for i, j in permutations(range(len(s)), 2)
        if r[i] > r[j]
    ]


def mse_by_hand(
    logits: list[list[float]], rels: list[list[float]], weights: list[list[float]]
) -> list[tuple[float, float, bool]]:
    """(weight, loss, right) of each document."""
    return [
        (weight, (score - rel) ** 2, abs(score - rel) <= 0.25)
        for group in zip(logits, rels, weights, strict=True)
        for score, rel, weight in zip(*group, strict=True)
    ]


def bce_by_hand(
    logits: list[list[float]], rels: list[list[float]], weights: list[list[float]]
) -> list[tuple[float, float, bool]]:
    """(weight, loss, right) of each document."""
    found = []
    for group in zip(logits, rels, weights, strict=True):
        for score, rel, weight in zip(*group, strict=True):
            p = 1 / (1 + math.exp(-score))
            found.append((weight, -rel * math.log(p) - (1 - rel) * math.log(1 - p), abs(p - rel) <= 0.25))
    return found


BY_HAND = {"listwise": listwise_by_hand, "pairwise": pairwise_by_hand, "mse": mse_by_hand, "bce": bce_by_hand}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_loss_by_hand(objective: str) -> None:
    """Two questions with documents of three grades, none of equal weight; two of the second question's are equal."""
    batch = batch_of(RELS, WEIGHTS)
    terms, _ = loss_of(objective, LOGITS, batch)
    expected = BY_HAND[objective](LOGITS, RELS, WEIGHTS)
    weight = sum(own for own, _, _ in expected)
    mean = sum(own * loss for own, loss, _ in expected) / weight
    assert terms.weight == pytest.approx(weight, rel=1e-6)
    assert (terms.total / terms.weight).item() == pytest.approx(mean, rel=1e-6)
    right = sum(own for own, _, right in expected if right)
    assert terms.correct.item() == pytest.approx(right, rel=1e-6)
    assert 0 < right < weight, "some are right and some are not"
    assert Ranking(objective).weight(batch) == terms.weight, "it is known before anything is scored"


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_gradient_by_small_steps(objective: str) -> None:
    """Central differences of the hand-made loss."""
    _, gradient = loss_of(objective, LOGITS, batch_of(RELS, WEIGHTS))
    step, slopes = 1e-5, []
    for group, own in enumerate(LOGITS):
        for place in range(len(own)):
            totals = []
            for sign in (1, -1):
                moved = [list(row) for row in LOGITS]
                moved[group][place] += sign * step
                totals.append(sum(weight * loss for weight, loss, _ in BY_HAND[objective](moved, RELS, WEIGHTS)))
            slopes.append((totals[0] - totals[1]) / (2 * step))
    assert gradient.tolist() == pytest.approx(slopes, rel=1e-4, abs=1e-5)


def test_listwise_with_one_positive_is_the_log_of_its_share() -> None:
    terms, _ = loss_of("listwise", [[2.0, 1.0, 0.0]], batch_of([[1.0, 0.0, 0.0]]))
    assert terms.total.item() == pytest.approx(math.log(1 + math.exp(-1) + math.exp(-2)), rel=1e-6)
    assert (terms.weight, terms.correct.item()) == (1, 1)


def test_pairwise_by_hand_of_two_documents() -> None:
    """The better one has the lower score: it counts by 0.75 more relevance, times both weights."""
    terms, gradient = loss_of("pairwise", [[0.0, 2.0]], batch_of([[1.0, 0.25]], [[3.0, 0.5]]))
    assert terms.weight == pytest.approx(0.75 * 3 * 0.5)
    assert (terms.total / terms.weight).item() == pytest.approx(math.log(1 + math.exp(2)), rel=1e-6)
    assert terms.correct == 0
    assert gradient[0] < 0 < gradient[1], "a step down the gradient raises the better one"


@pytest.mark.parametrize(
    ("objective", "rels"), [("listwise", [0.0, 0.0]), ("pairwise", [0.5, 0.5])], ids=["listwise", "pairwise"]
)
def test_a_question_with_nothing_to_compare_counts_nothing(objective: str, rels: list[float]) -> None:
    """Beside another one: the mean is that one's, and the gradient of its documents is zero."""
    both, gradient = loss_of(objective, [[0.3, -0.4], LOGITS[0]], batch_of([rels, RELS[0]]))
    alone, own = loss_of(objective, [LOGITS[0]], batch_of([RELS[0]]))
    assert (both.weight, both.total.item()) == pytest.approx((alone.weight, alone.total.item()), rel=1e-6)
    assert gradient[:2].tolist() == [0, 0]
    torch.testing.assert_close(gradient[2:], own)


@pytest.mark.parametrize("objective", ["listwise", "pairwise"])
def test_questions_are_not_compared_with_each_other(objective: str) -> None:
    """One question's scores may be anything: the other's part of the gradient stays."""
    batch = batch_of(RELS, WEIGHTS)
    _, gradient = loss_of(objective, LOGITS, batch)
    _, moved = loss_of(objective, [LOGITS[0], [score + 5 for score in LOGITS[1]]], batch)
    torch.testing.assert_close(moved, gradient)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_far_scores_have_a_finite_loss_and_gradient(objective: str) -> None:
    terms, gradient = loss_of(objective, [[-300.0, 300.0, 0.0]], batch_of([[1.0, 0.0, 0.5]]))
    assert torch.isfinite(terms.total)
    assert torch.isfinite(gradient).all()
    assert gradient[0] < 0 < gradient[1]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_groups_of_one_document_are_for_objectives_that_compare_none(objective: str) -> None:
    if objective in ("mse", "bce"):
        Ranking(objective).check(8, 1, 1)
        return
    with pytest.raises(ParameterError, match=f"train_group_size: 1 leaves `objective: {objective}` nothing to compare"):
        Ranking(objective).check(8, 1, 1)
    Ranking(objective).check(1, 1, 2)


def batch_from(questions: PairSet, numbers: range) -> PairBatch:
    batch: PairBatch = tensors_of(questions.collate([questions[number] for number in numbers], 0, 1))
    return batch


def texts_of(questions: PairSet, data: Data, numbers: range) -> tuple[list[str], list[list[str]], list[list[float]]]:
    """The questions, their documents' texts and relevances, in the order of `batch_from`."""
    texts, groups = read_texts_of_rows(data.mined), [questions[number] for number in numbers]
    queries = [questions.queries[number].query for number in numbers]
    return queries, [[texts[p] for _, p in group["pairs"]] for group in groups], [group["rels"] for group in groups]


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Each parameter's gradient, by its name in the model that the libraries' classes are around."""
    return {
        name[name.index("bert.") if "bert." in name else name.index("classifier.") :]: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def assert_equal_gradients(own: dict[str, torch.Tensor], other: dict[str, torch.Tensor], objective: str) -> None:
    """But for rounding. Where documents are compared, the head's bias has none: it moves all scores alike."""
    if objective in COMPARED:
        assert max(float(named["classifier.bias"].abs()) for named in (own, other)) < 1e-6
        own, other = ({name: g for name, g in named.items() if name != "classifier.bias"} for named in (own, other))
    assert largest_difference(own, other) < 1e-4


def scorer_of(directory: Path) -> PairScorer:
    return Ranking().embedder(load_cross_encoder(directory, CPU).model, None)


def ours(
    directory: Path, objective: str, batches: list[PairBatch], chunking: Chunking, seed: int = 1
) -> tuple[float, dict[str, torch.Tensor]]:
    """The mean loss of some batches in one step, and the gradients, as an optimiser step accumulates them."""
    scorer, ranking = scorer_of(directory), Ranking(objective)
    weight, mean = sum(ranking.weight(batch) for batch in batches), 0.0
    for number, batch in enumerate(batches):

        def loss(sides: dict[str, torch.Tensor], batch: PairBatch = batch) -> tuple[torch.Tensor, torch.Tensor]:
            terms = ranking.loss(scorer, sides, batch)
            return terms.total / weight, terms.correct / weight

        total, _ = accumulate_gradient(scorer, ranking.sides(batch), loss, chunking=chunking, seed=(seed, number))
        mean += total.item()
    return mean, gradients(scorer)


WHOLE = Chunking(10**6, 10**6)


def sentence_transformers_loss(
    directory: Path, objective: str, queries: list[str], documents: list[list[str]], rels: list[list[float]]
) -> tuple[float, dict[str, torch.Tensor]]:
    model = SentenceTransformersCrossEncoder(str(directory), device="cpu", max_length=UNCUT).train()
    flat = [query for query, own in zip(queries, documents, strict=True) for _ in own]
    pairs = [flat, [text for own in documents for text in own]]
    labels = [torch.tensor(own) for own in rels]
    if objective == "listwise":  # theirs softmaxes the labels: the softmax of logarithms is the share
        found = losses.ListNetLoss(model)([queries, documents], [own.log() for own in labels])
    elif objective == "pairwise":
        found = losses.RankNetLoss(model, reduction_log="natural")([queries, documents], labels)
    else:
        loss = losses.MSELoss(model) if objective == "mse" else losses.BinaryCrossEntropyLoss(model)
        found = loss(pairs, torch.cat(labels))
    found.backward()
    return found.item(), gradients(model)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_without_weights_loss_and_gradient_are_sentence_transformers(
    reranker: Path, data: Data, objective: str
) -> None:
    """From the texts on: relevant or not where pairs count alike there, else grades."""
    rows = None if objective == "pairwise" else [replace(row, weight=1.0) for row in graded_rows(data)]
    questions, numbers = pair_set(reranker, data, rows, max_len=UNCUT), range(6)
    assert questions.longest() < UNCUT, "sentence-transformers cuts long questions otherwise"
    expected, theirs = sentence_transformers_loss(reranker, objective, *texts_of(questions, data, numbers))
    loss, own = ours(reranker, objective, [batch_from(questions, numbers)], WHOLE)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert_equal_gradients(own, theirs, objective)


def test_listwise_with_one_positive_is_flag_embeddings_loss_and_gradient(reranker: Path, data: Data) -> None:
    """Theirs has the positive first, as a drawn group has."""
    questions, numbers = pair_set(reranker, data), range(6)
    batch = batch_from(questions, numbers)
    assert batch["rels"].reshape(6, 4).argmax(1).tolist() == [0] * 6
    model = AutoModelForSequenceClassification.from_pretrained(reranker)
    peer = CrossEncoderModel(model, AutoTokenizer.from_pretrained(reranker), train_batch_size=6).train()
    expected = peer(batch["pairs"]).loss
    expected.backward()
    loss, own = ours(reranker, "listwise", [batch], WHOLE)
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    assert_equal_gradients(own, gradients(peer), "listwise")


def graded_batch(directory: Path, data: Data, numbers: range = range(6)) -> PairBatch:
    """Pairs of many lengths, grades and weights."""
    return batch_from(pair_set(directory, data, graded_rows(data)), numbers)


@pytest.mark.parametrize(("tokens", "kept"), [(1, 0), (150, 400)])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_chunks_give_the_gradient_of_the_whole_batch(
    reranker: Path, data: Data, objective: str, tokens: int, kept: int
) -> None:
    """The oracle scores all pairs at once, and lets autograd do the whole."""
    batch, scorer = graded_batch(reranker, data), scorer_of(reranker)
    terms = Ranking(objective).loss(scorer, {"pairs": scorer.encode(batch["pairs"])}, batch)
    (terms.total / terms.weight).backward()
    loss, own = ours(reranker, objective, [batch], Chunking(tokens, kept))
    assert loss == pytest.approx((terms.total / terms.weight).item(), rel=1e-5)
    assert_equal_gradients(own, gradients(scorer), objective)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_two_batches_in_a_step_give_the_gradient_of_one(reranker: Path, data: Data, objective: str) -> None:
    """Of 2 and 4 questions, which weigh as their documents do."""
    whole = ours(reranker, objective, [graded_batch(reranker, data)], WHOLE)
    parts = [graded_batch(reranker, data, numbers) for numbers in (range(2), range(2, 6))]
    loss, accumulated = ours(reranker, objective, parts, WHOLE)
    assert loss == pytest.approx(whole[0], rel=1e-5)
    assert_equal_gradients(accumulated, whole[1], objective)


@pytest.mark.parametrize("kept", [0, 250])
@pytest.mark.parametrize("objective", ["listwise", "pairwise"])
def test_with_dropout_what_memory_keeps_changes_no_bit_of_the_gradient(
    reranker_with_dropout: Path, data: Data, objective: str, kept: int
) -> None:
    batch = graded_batch(reranker_with_dropout, data)
    loss, own = ours(reranker_with_dropout, objective, [batch], Chunking(100, kept))
    expected, whole = ours(reranker_with_dropout, objective, [batch], Chunking(100, 10**6))
    assert loss == expected
    assert largest_difference(own, whole) == 0


def test_dropout_is_on_in_that_test_and_would_show(reranker_with_dropout: Path, reranker: Path, data: Data) -> None:
    for directory, differs in ((reranker_with_dropout, True), (reranker, False)):
        batch = graded_batch(directory, data)
        one, other = (ours(directory, "pairwise", [batch], Chunking(100, 0), seed)[1] for seed in (1, 2))
        assert (largest_difference(one, other) > 0.05) is differs


def test_logits_have_all_digits_where_the_model_computes_in_bf16(reranker: Path, data: Data) -> None:
    batch, scorer = graded_batch(reranker, data), scorer_of(reranker)
    exact = scorer.encode(batch["pairs"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = scorer.encode(batch["pairs"])
    assert logits.dtype == torch.float32
    assert (logits != logits.bfloat16().float()).any(), "the head computes in fp32"
    assert 0 < (logits - exact).abs().max() < 0.05
