"""The loss against hand arithmetic and FlagEmbedding's own model; masks against a plain loop."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from FlagEmbedding.finetune.embedder.encoder_only.base import BiEncoderOnlyEmbedderModel
from torch.nn.functional import normalize

from embedtune.training.objectives.contrastive import Candidates, Distillation, contrastive_loss, false_negative_mask

BATCH, GROUP, WIDTH = 5, 3, 16


class Fixed(torch.nn.Module):
    """A backbone for an embedder whose embeddings are given."""

    config = None


def embedder(temperature: float = 1.0, normalize_embeddings: bool = True, **options: Any) -> BiEncoderOnlyEmbedderModel:
    return BiEncoderOnlyEmbedderModel(
        Fixed(), temperature=temperature, normalize_embeddings=normalize_embeddings, **options
    )


def unnormalized(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(BATCH, WIDTH, generator=generator).requires_grad_()
    passages = torch.randn(BATCH * GROUP, WIDTH, generator=generator).requires_grad_()
    return queries, passages


def embeddings() -> tuple[torch.Tensor, torch.Tensor]:
    queries, passages = (normalize(vectors.detach(), dim=-1).requires_grad_() for vectors in unnormalized())
    return queries, passages


def candidates(**options: Any) -> Candidates:
    return Candidates(torch.arange(BATCH) * GROUP, GROUP, **options)


def flag_embedding(model: BiEncoderOnlyEmbedderModel, vectors: tuple[torch.Tensor, torch.Tensor], **inputs: Any) -> Any:
    """The loss of FlagEmbedding's forward pass, with its encoder replaced by given vectors, not normalised."""

    def encode(features: torch.Tensor) -> Any:
        if not model.use_mrl:
            return normalize(features, dim=-1)
        parts = [features[:, :size] for size in model.mrl_dims]
        return [normalize(part, dim=-1) if model.normalize_embeddings else part for part in parts]

    model.encode = encode
    return model.train()(queries=vectors[0], passages=vectors[1], **inputs).loss


def gradients(loss: torch.Tensor, vectors: tuple[torch.Tensor, torch.Tensor]) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, vectors))


def test_loss_and_accuracy_by_hand() -> None:
    """Two queries, groups of two: the first's positive scores 2 against 1, 1, 0; the second's 0 against 3, 0, 0."""
    model = embedder(normalize_embeddings=False)
    queries = torch.eye(2)
    passages = torch.tensor([[2.0, 3], [1, 0], [1, 0], [0, 0]])
    loss, correct = contrastive_loss(model, queries, passages, Candidates(torch.tensor([0, 2]), 2))
    first = math.log(math.exp(2) + 2 * math.exp(1) + 1) - 2
    second = math.log(math.exp(3) + 3)
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-6)
    assert correct == 1


@pytest.mark.parametrize("in_batch", [True, False])
@pytest.mark.parametrize("distilled", [True, False])
@pytest.mark.parametrize("dims", [[], [4, 16], [8]])
@pytest.mark.parametrize("query_chunk_size", [None, 1, 2, 5])
def test_loss_and_gradient_equal_flag_embeddings(
    in_batch: bool, distilled: bool, dims: list[int], query_chunk_size: int | None
) -> None:
    vectors = unnormalized()
    teacher = torch.randn(BATCH, GROUP, generator=torch.Generator().manual_seed(1)) if distilled else None
    theirs = flag_embedding(
        embedder(0.05, use_mrl=bool(dims), mrl_dims=sorted({*dims, WIDTH})),  # ours adds the whole
        vectors,
        teacher_scores=teacher.flatten().tolist() if teacher is not None else None,
        no_in_batch_neg_flag=not in_batch,
    )
    ours, _ = contrastive_loss(
        embedder(0.05),
        *(normalize(side, dim=-1) for side in vectors),
        candidates(teacher=teacher),
        matryoshka_dims=dims,
        group_only=not in_batch,
        query_chunk_size=query_chunk_size,
    )
    ours = ours * (2 if distilled else 1)  # they add the two, we take the mean
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)
    for our_gradient, their_gradient in zip(gradients(ours, vectors), gradients(theirs, vectors), strict=True):
        assert (our_gradient - their_gradient).abs().max() < 1e-5


def test_every_number_of_a_vector_is_trained_whatever_the_matryoshka_dimensions() -> None:
    vectors = unnormalized()
    loss, _ = contrastive_loss(embedder(0.05, normalize_embeddings=False), *vectors, candidates(), matryoshka_dims=[4])
    assert all((gradient.abs().sum(0) > 0).all() for gradient in gradients(loss, vectors))


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_a_teachers_scores_are_logits_over_its_temperature(temperature: float) -> None:
    vectors, teacher = embeddings(), torch.randn(BATCH, GROUP, generator=torch.Generator().manual_seed(1))
    distillation = Distillation(temperature=temperature)
    warm = contrastive_loss(embedder(0.05), *vectors, candidates(teacher=teacher), distillation=distillation)
    assert warm == contrastive_loss(embedder(0.05), *vectors, candidates(teacher=teacher / temperature))


def test_margin_mse_by_hand() -> None:
    """One query, scores 2, 1.5 and 0 at a temperature of .5; the teacher's margins are 3 and 6, halved."""
    model = embedder(0.5, normalize_embeddings=False)
    queries, passages = torch.tensor([[1.0]]), torch.tensor([[1.0], [0.75], [0.0]])
    known = Candidates(torch.tensor([0]), 3, teacher=torch.tensor([[7.0, 4.0, 1.0]]))
    alone = Distillation("margin_mse", share=1.0, temperature=2.0)
    loss, _ = contrastive_loss(model, queries, passages, known, distillation=alone)
    assert loss.item() == pytest.approx(((0.5 - 1.5) ** 2 + (2 - 3) ** 2) / 2, rel=1e-6)


@pytest.mark.parametrize("how", ["kl", "margin_mse"])
def test_a_teacher_has_its_share_of_the_loss(how: str) -> None:
    vectors, teacher = embeddings(), torch.randn(BATCH, GROUP, generator=torch.Generator().manual_seed(1))

    def loss(share: float) -> float:
        known, distillation = candidates(teacher=teacher), Distillation(how, share)
        return contrastive_loss(embedder(0.05), *vectors, known, distillation=distillation)[0].item()

    plain = contrastive_loss(embedder(0.05), *vectors, candidates())[0].item()
    assert loss(0.0) == pytest.approx(plain, rel=1e-6)
    assert loss(0.3) == pytest.approx(0.7 * plain + 0.3 * loss(1.0), rel=1e-5)


def test_a_matryoshka_dimension_that_is_the_whole_is_the_plain_loss() -> None:
    vectors = embeddings()
    plain = contrastive_loss(embedder(0.05), *vectors, candidates())
    assert contrastive_loss(embedder(0.05), *vectors, candidates(), matryoshka_dims=[WIDTH]) == plain


@pytest.mark.parametrize("query_chunk_size", [None, 2])
def test_what_is_excluded_has_no_part_in_loss_or_gradient(query_chunk_size: int | None) -> None:
    queries, passages = embeddings()
    excluded = torch.zeros(BATCH, BATCH * GROUP, dtype=torch.bool)
    excluded[1, 6] = excluded[1, 7] = excluded[4, 0] = True
    known = candidates(excluded=excluded)
    loss, _ = contrastive_loss(embedder(0.05), queries, passages, known, query_chunk_size=query_chunk_size)
    scores = (queries @ passages.T / 0.05).detach().double().numpy()
    by_hand = []
    for query, row in enumerate(scores):
        kept = [score for column, score in enumerate(row) if not excluded[query, column]]
        by_hand.append(np.log(np.exp(kept).sum()) - row[query * GROUP])
    assert loss.item() == pytest.approx(np.mean(by_hand), abs=1e-5)
    assert loss.item() < contrastive_loss(embedder(0.05), queries, passages, candidates())[0].item()
    assert all(torch.isfinite(gradient).all() for gradient in gradients(loss, (queries, passages)))


@pytest.mark.parametrize("margin", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("group_only", [True, False])
def test_passages_above_the_positive_by_the_margin_are_excluded(margin: float, group_only: bool) -> None:
    vectors = embeddings()
    loss, correct = contrastive_loss(
        embedder(0.05), *vectors, candidates(), false_negative_margin=margin, group_only=group_only
    )
    scores = (vectors[0] @ vectors[1].T).detach().double().numpy()
    by_hand, taken_out = [], 0
    for query, row in enumerate(scores):
        positive = row[query * GROUP]
        row = row[query * GROUP : query * GROUP + GROUP] if group_only else row
        kept = row[row <= positive + margin]
        taken_out += len(row) - len(kept)
        by_hand.append(np.log(np.exp(kept / 0.05).sum()) - positive / 0.05)
    assert taken_out or (margin, group_only) == (0.5, True), "else it shows nothing"
    assert loss.item() == pytest.approx(np.mean(by_hand), abs=1e-5)
    assert margin or correct == BATCH


def test_scores_of_so_many_queries_exist_at_a_time_and_the_right_ones_are_counted() -> None:
    """Forward and backward: five queries, two at once."""
    seen: list[torch.Size] = []
    model, vectors = embedder(0.05), embeddings()
    compute_score = model.compute_score
    model.compute_score = lambda *sides: seen.append(sides[0].shape) or compute_score(*sides)
    loss, correct = contrastive_loss(model, *vectors, candidates(), query_chunk_size=2)
    gradients(loss, vectors)
    assert sorted(shape[0] for shape in seen) == [1, 1, 2, 2, 2, 2]
    assert correct == contrastive_loss(embedder(0.05), *vectors, candidates())[1]


def test_relevant_documents_of_other_groups_are_marked() -> None:
    """Query 0 has documents 7 and 8, query 1 document 9; groups of two, and passages of 7 and 9 in both groups."""
    relevant = torch.tensor([[7, 8], [9, -1]])
    documents = torch.tensor([7, 9, 9, 7])
    marked = false_negative_mask(relevant, documents, torch.tensor([0, 2]), group_size=2)
    assert marked.tolist() == [[False, False, False, True], [False, True, False, False]]


@pytest.mark.parametrize("offset", [0, 2])
def test_marks_equal_a_plain_loop(offset: int) -> None:
    """`offset`: the first of this process's queries among all."""
    rng = np.random.default_rng(0)
    documents = rng.integers(0, 6, 24)
    relevant = rng.integers(-1, 6, (4, 3))
    target = (offset + np.arange(4)) * 4
    expected = [
        [
            bool(documents[column] in [d for d in relevant[query] if d >= 0]) and column // 4 != offset + query
            for column in range(24)
        ]
        for query in range(4)
    ]
    marked = false_negative_mask(torch.tensor(relevant), torch.tensor(documents), torch.tensor(target), 4)
    assert marked.tolist() == expected
    assert 10 < marked.sum() < 80
