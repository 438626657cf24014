"""Chunks against the whole batch: the loss and every parameter's gradient, with and without dropout."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from FlagEmbedding.finetune.embedder.encoder_only.base import BiEncoderOnlyEmbedderModel
from transformers import AutoModel

from embedtune.models.encode import pad_token_id
from embedtune.models.settings import read_settings
from embedtune.training import grad_cache
from embedtune.training.batches import Batch, collate
from embedtune.training.grad_cache import ChunkTooLargeError, accumulate_gradient, next_chunk_size
from embedtune.training.objectives.contrastive import Candidates, contrastive_loss
from tests.golden.training import Data, largest_difference, training_set

QUERIES, GROUP = 13, 4


def embedder_of(base: Path) -> BiEncoderOnlyEmbedderModel:
    settings = read_settings(base)
    return BiEncoderOnlyEmbedderModel(
        AutoModel.from_pretrained(base, dtype=torch.float32),
        temperature=0.05,
        sentence_pooling_method=settings.pooling,
        normalize_embeddings=settings.normalize,
    ).train()


@pytest.fixture
def batch(base: Path, data: Data) -> Batch:
    """Sequences of many lengths."""
    questions = training_set(base, data, group_size=GROUP)
    groups = [questions[i] for i in range(QUERIES)]
    lengths = np.random.default_rng(0)
    for group in groups:
        group["query"] = group["query"][: lengths.integers(3, 25)]
        group["passages"] = [passage[: lengths.integers(3, 33)] for passage in group["passages"]]
    return collate(groups, pad_token_id(base), multiple_of=1)


def loss_for(embedder: BiEncoderOnlyEmbedderModel, query_chunk_size: int | None = None) -> Callable[..., Any]:
    candidates = Candidates(torch.arange(QUERIES) * GROUP, GROUP)
    return lambda sides: contrastive_loss(
        embedder, sides["queries"], sides["passages"], candidates, query_chunk_size=query_chunk_size
    )


def sides(batch: Batch) -> dict[str, Any]:
    return {"queries": batch["queries"], "passages": batch["passages"]}


def result(
    base: Path, batch: Batch, sub_batch_size: int | None, seed: int = 1
) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss, and each parameter's gradient."""
    embedder = embedder_of(base)
    loss, _ = accumulate_gradient(
        embedder,
        sides(batch),
        loss_for(embedder, sub_batch_size),
        sub_batch_size=sub_batch_size,
        seed=(seed,),
    )
    return loss.item(), {n: p.grad for n, p in embedder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("sub_batch_size", [1, 5, 7, 13, 50, 52])
def test_chunks_give_the_gradient_of_flag_embeddings_whole_batch(base: Path, batch: Batch, sub_batch_size: int) -> None:
    """13 queries and 52 passages, so that most sizes leave a rest."""
    embedder = embedder_of(base)
    loss = embedder(queries=batch["queries"], passages=batch["passages"]).loss
    loss.backward()
    expected = {name: p.grad for name, p in embedder.named_parameters() if p.grad is not None}
    our_loss, gradients = result(base, batch, sub_batch_size)
    assert our_loss == pytest.approx(loss.item(), abs=1e-5)
    assert largest_difference(gradients, expected) < 1e-4


@pytest.mark.parametrize("sub_batch_size", [1, 5, 13])
def test_chunks_with_dropout_give_the_gradient_of_the_same_chunks_held_in_memory(
    base_with_dropout: Path, batch: Batch, sub_batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oracle keeps every chunk's graph, so that nothing is embedded twice, and lets autograd do the whole."""
    loss, gradients = result(base_with_dropout, batch, sub_batch_size)
    embedder = embedder_of(base_with_dropout)
    vectors = []
    for side, features in enumerate((batch["queries"], batch["passages"])):
        chunks = grad_cache._split(features["attention_mask"], sub_batch_size)
        pieces = []
        for index, rows in enumerate(chunks):
            torch.manual_seed(grad_cache.torch_seed(1, side, index))
            longest = int(features["attention_mask"][rows].sum(1).max())
            pieces.append(embedder.encode({name: tensor[rows, :longest] for name, tensor in features.items()}))
        vectors.append(torch.cat(pieces)[torch.cat(chunks).argsort()])
    expected_loss, _ = loss_for(embedder)(dict(zip(("queries", "passages"), vectors, strict=True)))
    expected_loss.backward()
    expected = {name: p.grad for name, p in embedder.named_parameters() if p.grad is not None}
    assert loss == pytest.approx(expected_loss.item(), abs=1e-5)
    assert largest_difference(gradients, expected) < 1e-4


def test_dropout_is_on_in_that_test_and_would_show(base_with_dropout: Path, base: Path, batch: Batch) -> None:
    """Other seeds give other gradients with dropout, and the same without: the comparison above is not vacuous."""
    assert largest_difference(result(base_with_dropout, batch, 5)[1], result(base_with_dropout, batch, 5, 2)[1]) > 0.05
    assert largest_difference(result(base, batch, 5)[1], result(base, batch, 5, 2)[1]) == 0


def test_a_second_batch_is_added_to_the_gradient(base: Path, batch: Batch) -> None:
    embedder = embedder_of(base)
    for _ in range(2):
        accumulate_gradient(embedder, sides(batch), loss_for(embedder, 5), sub_batch_size=5, seed=(1,))
    twice = {n: p.grad / 2 for n, p in embedder.named_parameters() if p.grad is not None}
    assert largest_difference(twice, result(base, batch, 5)[1]) < 1e-6


def test_chunks_are_cut_to_their_own_length(base: Path, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """No chunk carries columns of padding alone, so chunks read fewer tokens than the whole batch."""
    seen: list[torch.Tensor] = []
    embedder = embedder_of(base)
    encode = embedder.encode
    monkeypatch.setattr(embedder, "encode", lambda f: seen.append(f["attention_mask"]) or encode(f))
    accumulate_gradient(embedder, sides(batch), loss_for(embedder), sub_batch_size=4, seed=(1,))
    assert all(mask[:, -1].any() for mask in seen)
    assert all(len(mask) <= 4 for mask in seen)
    assert sum(mask.numel() for mask in seen) < 2 * (
        batch["queries"]["attention_mask"].numel() + batch["passages"]["attention_mask"].numel()
    )


@pytest.mark.parametrize("fails_at", [1, 3, 8, 15, 20])
def test_a_lack_of_memory_anywhere_is_told(
    base: Path, batch: Batch, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    """In the first pass over the chunks as in the second: 3 + 7 chunks, each embedded twice."""
    embedder = embedder_of(base)
    encode, calls = embedder.encode, 0

    def failing(features: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == fails_at:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(features)

    monkeypatch.setattr(embedder, "encode", failing)
    with pytest.raises(ChunkTooLargeError):
        accumulate_gradient(embedder, sides(batch), loss_for(embedder), sub_batch_size=5, seed=(1,))
    assert calls == fails_at


def test_chunks_are_halved_down_to_one() -> None:
    assert next_chunk_size(None, 52) == 26
    assert next_chunk_size(5, 52) == 2
    assert next_chunk_size(2, 52) == 1
    with pytest.raises(ChunkTooLargeError):
        next_chunk_size(1, 52)
