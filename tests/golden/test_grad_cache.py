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
from embedtune.training.grad_cache import Chunking, ChunkTooLargeError, accumulate_gradient
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
    base: Path, batch: Batch, tokens: int, kept: int = 0, seed: int = 1
) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss, and each parameter's gradient."""
    embedder = embedder_of(base)
    loss, _ = accumulate_gradient(
        embedder, sides(batch), loss_for(embedder, 5), chunking=Chunking(tokens, kept), seed=(seed,)
    )
    return loss.item(), {n: p.grad for n, p in embedder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("tokens", "kept"), [(1, 0), (40, 0), (40, 300), (150, 150), (1000, 300), (10**6, 10**6)])
def test_chunks_give_the_gradient_of_flag_embeddings_whole_batch(
    base: Path, batch: Batch, tokens: int, kept: int
) -> None:
    """13 queries and 52 passages of 3 to 32 tokens: most sizes leave a rest, and some keep a part of the chunks."""
    embedder = embedder_of(base)
    loss = embedder(queries=batch["queries"], passages=batch["passages"]).loss
    loss.backward()
    expected = {name: p.grad for name, p in embedder.named_parameters() if p.grad is not None}
    our_loss, gradients = result(base, batch, tokens, kept)
    assert our_loss == pytest.approx(loss.item(), abs=1e-5)
    assert largest_difference(gradients, expected) < 1e-4


@pytest.mark.parametrize(("tokens", "kept"), [(1, 0), (100, 0), (100, 250), (400, 10**6)])
def test_chunks_with_dropout_give_the_gradient_of_the_same_chunks_held_in_memory(
    base_with_dropout: Path, batch: Batch, tokens: int, kept: int
) -> None:
    """The oracle keeps every chunk's graph, so that nothing is embedded twice, and lets autograd do the whole."""
    loss, gradients = result(base_with_dropout, batch, tokens, kept)
    embedder = embedder_of(base_with_dropout)
    vectors = []
    for side, features in enumerate((batch["queries"], batch["passages"])):
        chunks = grad_cache._split(features["attention_mask"], tokens)
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
    one, other = (result(base_with_dropout, batch, 100, seed=seed)[1] for seed in (1, 2))
    assert largest_difference(one, other) > 0.05
    assert largest_difference(*(result(base, batch, 100, seed=seed)[1] for seed in (1, 2))) == 0


@pytest.mark.parametrize("kept", [0, 90, 250, 500])
def test_what_memory_keeps_changes_no_bit_of_the_gradient(base_with_dropout: Path, batch: Batch, kept: int) -> None:
    loss, gradients = result(base_with_dropout, batch, 100, kept)
    expected_loss, expected = result(base_with_dropout, batch, 100, 10**6)
    assert loss == expected_loss
    assert largest_difference(gradients, expected) == 0


@pytest.mark.parametrize(("kept", "embedded"), [(0, 2.0), (10**6, 1.0)])
def test_only_what_memory_does_not_keep_is_embedded_twice(
    base: Path, batch: Batch, monkeypatch: pytest.MonkeyPatch, kept: int, embedded: float
) -> None:
    rows = 0
    embedder = embedder_of(base)
    encode = embedder.encode

    def counting(features: Any) -> torch.Tensor:
        nonlocal rows
        rows += len(features["input_ids"])
        return encode(features)

    monkeypatch.setattr(embedder, "encode", counting)
    accumulate_gradient(embedder, sides(batch), loss_for(embedder), chunking=Chunking(100, kept), seed=(1,))
    assert rows == embedded * QUERIES * (1 + GROUP)


def test_a_second_batch_is_added_to_the_gradient(base: Path, batch: Batch) -> None:
    embedder = embedder_of(base)
    for _ in range(2):
        accumulate_gradient(embedder, sides(batch), loss_for(embedder), chunking=Chunking(100, 0), seed=(1,))
    twice = {n: p.grad / 2 for n, p in embedder.named_parameters() if p.grad is not None}
    assert largest_difference(twice, result(base, batch, 100)[1]) < 1e-5


def test_chunks_keep_to_their_tokens_and_carry_little_padding(
    base: Path, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    embedder = embedder_of(base)
    encode = embedder.encode
    monkeypatch.setattr(embedder, "encode", lambda f: seen.append(f["attention_mask"]) or encode(f))
    accumulate_gradient(embedder, sides(batch), loss_for(embedder), chunking=Chunking(100, 10**6), seed=(1,))
    assert all(mask[:, -1].any() for mask in seen), "no column of padding alone"
    assert all(mask.numel() <= 100 for mask in seen)
    needed = sum(int(batch[side]["attention_mask"].sum()) for side in ("queries", "passages"))
    assert needed <= sum(mask.numel() for mask in seen) < 1.2 * needed
    assert sum(batch[side]["attention_mask"].numel() for side in ("queries", "passages")) > 1.5 * needed


@pytest.mark.parametrize("fails_at", [1, 3, 10, 15, 20])
def test_a_lack_of_memory_anywhere_is_told(
    base: Path, batch: Batch, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    """In the first pass over the chunks as in the second: a dozen chunks, each embedded twice."""
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
        accumulate_gradient(embedder, sides(batch), loss_for(embedder), chunking=Chunking(100, 0), seed=(1,))
    assert calls == fails_at


def test_less_memory_keeps_fewer_tokens_and_then_makes_smaller_chunks() -> None:
    assert Chunking(100, 1000).halved() == Chunking(100, 500)
    assert Chunking(100, 150).halved() == Chunking(75, 75)
    assert Chunking(1, 1).halved() == Chunking(1, 1)
