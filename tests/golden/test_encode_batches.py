"""Which texts meet in a batch, and what happens where a batch does not fit in memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from embedtune.core.errors import EmbedTuneError
from embedtune.models.encode import encode


class Echo:
    """A model whose vector of a token is the token's id; it can hold `memory` tokens and notes each batch's ids."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, memory: int = 10**9) -> None:
        self.memory, self.batches = memory, list[torch.Tensor]()

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        if input_ids.numel() > self.memory:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.batches.append(input_ids)
        return SimpleNamespace(last_hidden_state=input_ids[:, :, None].float())


def echo_into(
    out: NDArray[np.float32], model: Echo, lengths: NDArray[np.int32], batch_tokens: int, first: int = 0
) -> list[tuple[int, int]]:
    """Store what the model gives for texts of these lengths, whose tokens are all the text's number; what was told."""
    told: list[tuple[int, int]] = []
    encode(
        model,
        lambda i: np.full(lengths[i], i),
        lengths,
        out,
        pooling="cls",
        normalized=False,
        pad_id=0,
        batch_tokens=batch_tokens,
        first=first,
        stored=lambda done, budget: told.append((done, budget)),
    )
    return told


def echo(model: Echo, lengths: NDArray[np.int32], batch_tokens: int) -> list[float]:
    """What is stored for texts of these lengths."""
    out = np.full((len(lengths), 1), np.nan, dtype=np.float32)
    echo_into(out, model, lengths, batch_tokens)
    return out[:, 0].tolist()


def random_lengths(seed: int) -> NDArray[np.int32]:
    return np.random.default_rng(seed).integers(1, 65, 101).astype(np.int32)


@pytest.mark.parametrize("budget", [1, 7, 64, 100, 1000, 10**9])
@pytest.mark.parametrize("seed", range(5))
def test_batches_cover_every_row_once_within_the_budget_and_leave_no_room_for_one_more(seed: int, budget: int) -> None:
    model, lengths = Echo(), random_lengths(seed)
    assert echo(model, lengths, budget) == list(range(101))
    assert sum(len(batch) for batch in model.batches) == 101
    assert all((np.diff(lengths[batch[:, 0].numpy()]) <= 0).all() for batch in model.batches)
    widths = [batch.shape[1] for batch in model.batches]
    assert widths == sorted(widths, reverse=True)
    assert widths == [lengths[int(batch[0, 0])] for batch in model.batches]
    assert all(len(batch) == 1 or batch.numel() <= budget for batch in model.batches)
    assert all((len(batch) + 1) * batch.shape[1] > budget for batch in model.batches[:-1])


def test_no_texts_give_no_batches() -> None:
    model = Echo()
    assert echo(model, np.array([], dtype=np.int32), 100) == []
    assert model.batches == []


@pytest.mark.parametrize("memory", [64, 100, 999])
def test_out_of_memory_batches_become_smaller_and_nothing_is_lost(
    memory: int, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Echo(memory)
    assert echo(model, random_lengths(0), 5000) == list(range(101))
    assert sum(len(batch) for batch in model.batches) == 101
    said = [line for line in capsys.readouterr().err.splitlines() if "out of memory" in line]
    budgets = [int(line.split("at most ")[1].split()[0]) for line in said]
    assert budgets == sorted(budgets, reverse=True)
    assert memory / 2 - 64 < budgets[-1] <= memory


def test_one_text_that_does_not_fit_in_memory_says_what_to_lower() -> None:
    with pytest.raises(EmbedTuneError, match=r"a single text of 63 tokens .* lower `max_tokens`"):
        echo(Echo(40), np.array([9, 63, 50], dtype=np.int32), 5000)


def test_what_was_stored_before_a_kill_is_not_encoded_again_and_the_batches_are_the_same() -> None:
    """From each place that was told: the same batches follow, and every row is there."""
    lengths = random_lengths(1)
    whole, expected = Echo(300), np.full((101, 1), np.nan, dtype=np.float32)
    told = echo_into(expected, whole, lengths, 1000)
    assert told[-1] == (101, told[-1][1]) and told[-1][1] <= 300
    assert [done for done, _ in told] == np.cumsum([len(batch) for batch in whole.batches]).tolist()
    for number, (done, budget) in enumerate(told):
        rest, out = Echo(300), np.full((101, 1), np.nan, dtype=np.float32)
        order = np.argsort(-lengths, kind="stable")
        out[order[:done]] = expected[order[:done]]  # as the killed run left it
        echo_into(out, rest, lengths, budget, first=done)
        np.testing.assert_array_equal(out, expected)
        assert all(map(torch.equal, rest.batches, whole.batches[number + 1 :]))
