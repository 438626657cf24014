"""Which questions meet in a batch: every question once an epoch, the same whatever the processes, from any batch on."""

import numpy as np
import pytest

from embedtune.training.batches import BatchPlan, BatchSampler


def keys(plan: BatchPlan, **options: int) -> list[list[int]]:
    return list(BatchSampler(plan, **({"epochs": 3, "seed": 1} | options)))


@pytest.mark.parametrize("questions", [1, 2, 37, 1000])
@pytest.mark.parametrize("size", [1, 8, 37])
def test_an_epoch_has_every_question_once_in_an_order_of_its_own(questions: int, size: int) -> None:
    plan = BatchPlan(questions, size, processes=1, drop_last=False)
    batches = keys(plan, epochs=4)
    assert len(batches) == 4 * plan.batches == len(BatchSampler(plan, epochs=4, seed=1))
    assert plan.left_out == 0
    orders = []
    for epoch in range(4):
        epoch_keys = [key for batch in batches[epoch * plan.batches : (epoch + 1) * plan.batches] for key in batch]
        assert {key // questions for key in epoch_keys} == {epoch}
        assert sorted(key % questions for key in epoch_keys) == list(range(questions))
        orders.append(tuple(key % questions for key in epoch_keys))
    assert questions < 37 or len(set(orders)) == 4
    assert keys(plan, epochs=4) == batches
    assert questions < 37 or keys(plan, epochs=4, seed=2) != batches


@pytest.mark.parametrize(("drop_last", "left_out", "batches"), [(True, 37 - 32, 4), (False, 0, 5)])
def test_questions_left_out_are_counted_and_differ_by_epoch(drop_last: bool, left_out: int, batches: int) -> None:
    plan = BatchPlan(37, 8, processes=1, drop_last=drop_last)
    assert (plan.left_out, plan.batches) == (left_out, batches)
    epochs = [{k % 37 for b in keys(plan)[e * batches : (e + 1) * batches] for k in b} for e in range(3)]
    assert {len(epoch) for epoch in epochs} == {37 - left_out}
    assert not drop_last or epochs[0] != epochs[1]


@pytest.mark.parametrize("processes", [2, 3, 4])
@pytest.mark.parametrize("drop_last", [True, False])
def test_processes_share_the_batches_that_one_process_would_have(processes: int, drop_last: bool) -> None:
    plan = BatchPlan(119, 5, processes, drop_last)
    parts = [keys(plan, rank=rank) for rank in range(processes)]
    whole = keys(BatchPlan(119, 5 * processes, 1, drop_last))
    assert len({len(part) for part in parts}) == 1
    for number, batch in enumerate(whole):
        shares = [part[number] for part in parts]
        assert len({len(share) for share in shares}) == 1, "as many questions on each"
        together = [key for share in shares for key in share]
        assert together == batch[: len(together)]
        assert len(batch) - len(together) < processes
    assert plan.left_out == 119 - sum(len(batch) for part in parts for batch in part[: plan.batches])


def test_too_few_questions_for_the_processes_make_no_batch() -> None:
    assert BatchPlan(3, 8, processes=4, drop_last=False).batches == 0
    assert BatchPlan(3, 8, processes=1, drop_last=True).batches == 0


@pytest.mark.parametrize("first", [0, 1, 4, 5, 7, 14, 15])
def test_it_goes_on_from_any_batch(first: int) -> None:
    plan = BatchPlan(37, 8, processes=1, drop_last=False)
    assert keys(plan, first=first) == keys(plan)[first:]
    assert len(BatchSampler(plan, epochs=3, seed=1, first=first)) == 15 - first


def test_questions_of_like_length_share_a_batch() -> None:
    lengths = np.random.default_rng(0).integers(5, 500, 1003)
    plan = BatchPlan(1003, 10, processes=1, drop_last=False)
    plain = list(BatchSampler(plan, epochs=2, seed=1))
    grouped = list(BatchSampler(plan, epochs=2, seed=1, lengths=lengths))
    assert sorted(key for batch in grouped for key in batch) == sorted(key for batch in plain for key in batch)

    def padding(batches: list[list[int]]) -> float:
        each = [lengths[np.array(batch) % 1003] for batch in batches]
        return float(np.mean([1 - batch.mean() / batch.max() for batch in each]))

    assert padding(plain) > 0.4
    assert padding(grouped) < 0.1
    longest = [int(lengths[np.array(b) % 1003].max()) for b in grouped[:100]]
    assert longest != sorted(longest, reverse=True), "batches come in no order of length"
    assert grouped[:101] != grouped[101:]


def test_grouping_by_length_leaves_out_others_each_epoch_and_mixes_batches() -> None:
    """Few batches: an order sorted as a whole would make the same batches in every epoch."""
    lengths = np.random.default_rng(0).integers(5, 500, 1000)
    plan = BatchPlan(1000, 64, processes=1, drop_last=True)
    batches = list(BatchSampler(plan, epochs=2, seed=1, lengths=lengths))
    first, second = ([{key % 1000 for key in b} for b in part] for part in (batches[:15], batches[15:]))
    dropped = [set(range(1000)) - set().union(*epoch) for epoch in (first, second)]
    assert len(dropped[0] & dropped[1]) < 10, "of 40"
    shared = [max(len(batch & other) for other in second) / 64 for batch in first]
    assert np.mean(shared) < 0.5
