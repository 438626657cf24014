"""Training against FlagEmbedding's own model, data set and collator in a plain loop; batches, draws, determinism."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from FlagEmbedding.abc.finetune.embedder import (
    AbsEmbedderCollator,
    AbsEmbedderDataArguments,
    AbsEmbedderTrainDataset,
)
from FlagEmbedding.finetune.embedder.encoder_only.base import BiEncoderOnlyEmbedderModel
from transformers import AutoModel, AutoTokenizer, get_scheduler

from embedtune.core.errors import EmbedTuneError
from embedtune.models.encode import pad_token_id
from embedtune.models.settings import read_settings
from embedtune.training.batches import BatchPlan, BatchSampler, collate, collate_arrays
from embedtune.training.records import cost, loss_curve, summary
from tests.golden.training import (
    OPTIONS,
    PASSAGE_MAX_LEN,
    QUERY_MAX_LEN,
    QUESTIONS,
    Data,
    assert_equal_runs,
    changed_model,
    run,
    training_set,
)


def flag_embeddings_features(base: Path, mined: Path, cache: Path, group_size: int) -> AbsEmbedderTrainDataset:
    """FlagEmbedding's own data set: the texts of the mined file, the query's with its instruction."""
    settings = read_settings(base)
    arguments = AbsEmbedderDataArguments(
        train_data=[str(mined)],
        cache_path=str(cache),
        train_group_size=group_size,
        query_max_len=QUERY_MAX_LEN,
        passage_max_len=PASSAGE_MAX_LEN,
        query_instruction_for_retrieval=settings.query_instruction,
        passage_instruction_for_retrieval=settings.passage_instruction or None,
    )
    return AbsEmbedderTrainDataset(arguments, AutoTokenizer.from_pretrained(base))


def epoch_batches(epoch: int, size: int = 8, seed: int = 42, drop_last: bool = True) -> list[list[int]]:
    """The questions of each batch of an epoch."""
    plan = BatchPlan(QUESTIONS, size, processes=1, drop_last=drop_last)
    batches = list(BatchSampler(plan, epochs=epoch + 1, seed=seed, first=epoch * plan.batches))
    return [[key % QUESTIONS for key in batch] for batch in batches]


def plain_loop(base: Path, mined: Path, cache: Path, steps: list[list[list[int]]]) -> list[tuple[float, float]]:
    """FlagEmbedding's model trained on `steps`, each a list of batches of questions: (loss, accuracy) of each step."""
    settings, tokenizer = read_settings(base), AutoTokenizer.from_pretrained(base)
    features = flag_embeddings_features(base, mined, cache, group_size=4)
    collator = AbsEmbedderCollator(tokenizer, query_max_len=QUERY_MAX_LEN, passage_max_len=PASSAGE_MAX_LEN)
    model = BiEncoderOnlyEmbedderModel(
        AutoModel.from_pretrained(base, dtype=torch.float32),
        temperature=OPTIONS["temperature"],
        sentence_pooling_method=settings.pooling,
        normalize_embeddings=settings.normalize,
    ).train()
    plain = [w for name, w in model.named_parameters() if "LayerNorm" in name or name.endswith("bias")]
    decayed = [w for name, w in model.named_parameters() if not ("LayerNorm" in name or name.endswith("bias"))]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": OPTIONS["weight_decay"]}, {"params": plain, "weight_decay": 0.0}],
        lr=OPTIONS["learning_rate"],
    )
    warmup = math.ceil(OPTIONS["warmup_ratio"] * len(steps))
    scheduler = get_scheduler("linear", optimizer, num_warmup_steps=warmup, num_training_steps=len(steps))
    curve = []
    for batches in steps:
        losses, right = [], []
        for questions in batches:
            inputs = collator([features[question] for question in questions])
            loss = model(**inputs).loss
            (loss * len(questions) / sum(map(len, batches))).backward()
            losses.append(loss.item())
            with torch.no_grad():
                scores = (model.encode(inputs["queries"]) @ model.encode(inputs["passages"]).T).numpy()
            right += (scores.argmax(1) == 4 * np.arange(len(questions))).tolist()
            logits = scores.astype(np.float64) / OPTIONS["temperature"]
            by_hand = [math.log(np.exp(row - row[4 * i]).sum()) for i, row in enumerate(logits)]
            assert np.mean(by_hand) == pytest.approx(losses[-1], abs=1e-4)
        torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIONS["max_grad_norm"])
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        curve.append((float(np.average(losses, weights=list(map(len, batches)))), float(np.mean(right))))
    return curve


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_loss_and_accuracy_of_every_step_equal_flag_embeddings(
    tmp_path: Path, base: Path, data: Data, sample_model: Path, pooling: str
) -> None:
    """Both data paths from the mined file on: ours from passage numbers, FlagEmbedding's from the texts."""
    if pooling != "mean":
        base = changed_model(tmp_path, sample_model, 0.0, pooling=pooling, passage_instruction="文档：")
    log = run(base, training_set(base, data), tmp_path).record.log
    steps = [[batch] for epoch in range(3) for batch in epoch_batches(epoch)]
    expected = plain_loop(base, data.mined, tmp_path, steps)
    assert len(log) == len(expected) == 12
    assert expected[-1][0] < expected[0][0] - 0.1, "it learns, so that an error would grow"
    difference = max(abs(line["loss"] - loss) for line, (loss, _) in zip(log, expected, strict=True))
    assert difference < 1e-5
    assert [line["accuracy"] for line in log] == pytest.approx([accuracy for _, accuracy in expected])
    assert 0 < np.mean([line["accuracy"] for line in log]) < 1


def test_accumulated_batches_equal_flag_embeddings_mean_loss(tmp_path: Path, base: Path, data: Data) -> None:
    """Four batches an epoch in steps of three: the last step of an epoch is the mean of the one that is left."""
    log = run(base, training_set(base, data), tmp_path, gradient_accumulation_steps=3).record.log
    steps = [step for epoch in range(3) for b in [epoch_batches(epoch)] for step in (b[:3], b[3:])]
    expected = plain_loop(base, data.mined, tmp_path, steps)
    assert [line["loss"] for line in log] == pytest.approx([loss for loss, _ in expected], abs=1e-5)
    assert [line["accuracy"] for line in log] == pytest.approx([accuracy for _, accuracy in expected])


def test_an_incomplete_batch_weighs_as_much_as_its_questions(tmp_path: Path, base: Path, data: Data) -> None:
    """Batches of 8, 8, 8, 8 and 5 questions in steps of three: in the second step 8 count more than 5."""
    options = {"gradient_accumulation_steps": 3, "dataloader_drop_last": False}
    log = run(base, training_set(base, data), tmp_path, **options).record.log
    steps = [step for epoch in range(3) for b in [epoch_batches(epoch, drop_last=False)] for step in (b[:3], b[3:])]
    assert [[len(batch) for batch in step] for step in steps[:2]] == [[8, 8, 8], [8, 5]]
    expected = plain_loop(base, data.mined, tmp_path, steps)
    assert [line["loss"] for line in log] == pytest.approx([loss for loss, _ in expected], abs=1e-5)
    assert [line["accuracy"] for line in log] == pytest.approx([accuracy for _, accuracy in expected])


def test_a_batch_has_the_tokens_that_flag_embedding_makes_of_the_texts(tmp_path: Path, base: Path, data: Data) -> None:
    settings, tokenizer = read_settings(base), AutoTokenizer.from_pretrained(base)
    corpus = [json.loads(line) for line in data.mined.read_text(encoding="utf-8").splitlines()]
    collator = AbsEmbedderCollator(tokenizer, query_max_len=QUERY_MAX_LEN, passage_max_len=PASSAGE_MAX_LEN)
    texts = [(settings.query_instruction + row["query"], row["pos"] + row["neg"], None) for row in corpus]
    theirs = collator(texts)
    questions = training_set(base, data)
    ours = collate([questions[i] for i in range(QUESTIONS)], pad_token_id(base), multiple_of=1)
    assert ours["queries"]["input_ids"].tolist() == theirs["queries"]["input_ids"].tolist()
    assert ours["queries"]["attention_mask"].tolist() == theirs["queries"]["attention_mask"].tolist()
    for key in ("input_ids", "attention_mask"):
        our_groups = ours["passages"][key].reshape(QUESTIONS, 4, -1).tolist()
        their_groups = theirs["passages"][key].reshape(QUESTIONS, 4, -1).tolist()
        assert [group[0] for group in our_groups] == [group[0] for group in their_groups]
        assert [sorted(group) for group in our_groups] == [sorted(group) for group in their_groups]


def test_a_log_line_is_the_mean_of_the_steps_since_the_line_before(tmp_path: Path, base: Path, data: Data) -> None:
    questions = training_set(base, data)
    single = run(base, questions, tmp_path).record.log
    by_four = run(base, questions, tmp_path, logging_steps=4).record.log
    assert [line["step"] for line in by_four] == [4, 8, 12]
    for name in ("loss", "accuracy"):
        means = np.array([line[name] for line in single]).reshape(3, 4).mean(1)
        assert [line[name] for line in by_four] == pytest.approx(means.tolist(), abs=1e-6)


@pytest.mark.parametrize("logging_steps", [5, 100])
def test_the_log_reaches_the_last_step(tmp_path: Path, base: Path, data: Data, logging_steps: int) -> None:
    """Twelve steps: metrics/training.json takes the number of steps and the last loss from the last line."""
    log = run(base, training_set(base, data), tmp_path, logging_steps=logging_steps).record.log
    assert log
    assert log[-1]["step"] == 12


def test_two_trainings_give_equal_bits(tmp_path: Path, data: Data, base_with_dropout: Path) -> None:
    """With dropout, and whatever was drawn from the global generators before."""
    base = base_with_dropout
    questions = training_set(base, data)
    first = run(base, questions, tmp_path)
    torch.manual_seed(17)
    np.random.seed(17)
    assert_equal_runs(first, run(base, questions, tmp_path))
    other = run(base, questions, tmp_path, seed=43)
    assert [line["loss"] for line in other.record.log] != [line["loss"] for line in first.record.log]


def test_workers_change_nothing(tmp_path: Path, base: Path, data: Data) -> None:
    questions = training_set(base, data)
    alone = run(base, questions, tmp_path, num_train_epochs=2)
    assert_equal_runs(alone, run(base, questions, tmp_path, num_train_epochs=2, dataloader_num_workers=2))


def test_gradient_checkpointing_changes_nothing(tmp_path: Path, base: Path, data: Data) -> None:
    questions = training_set(base, data)
    plain = run(base, questions, tmp_path, num_train_epochs=1)
    assert not plain.backbone.is_gradient_checkpointing
    checkpointed = run(base, questions, tmp_path, num_train_epochs=1, gradient_checkpointing=True)
    assert checkpointed.backbone.is_gradient_checkpointing
    for line, expected in zip(checkpointed.record.log, plain.record.log, strict=True):
        assert line == pytest.approx(expected, abs=1e-5)


def test_bfloat16_keeps_the_weights_in_float32(tmp_path: Path, base: Path, data: Data) -> None:
    exact = run(base, training_set(base, data), tmp_path, num_train_epochs=1).record.log
    trained = run(base, training_set(base, data), tmp_path, num_train_epochs=1, precision="bf16")
    log = trained.record.log
    assert {tensor.dtype for tensor in trained.backbone.parameters()} == {torch.float32}
    assert log[0]["loss"] == pytest.approx(exact[0]["loss"], rel=0.05)
    assert log[0]["loss"] != exact[0]["loss"]


def test_an_infinite_learning_rate_ends_in_a_clear_error(tmp_path: Path, base: Path, data: Data) -> None:
    with pytest.raises(
        EmbedTuneError, match=r"the loss is nan at step \d+ of 12, on the questions q\d+.*lower `learning_rate"
    ):
        run(base, training_set(base, data), tmp_path, learning_rate=1e30, warmup_ratio=0.0, max_grad_norm=1e9)


@pytest.mark.parametrize(("drop_last", "batches"), [(True, 4), (False, 5)])
def test_an_epoch_of_training_takes_each_question_once_in_an_order_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, base: Path, data: Data, drop_last: bool, batches: int
) -> None:
    """Seen from what training collates, not from the sampler."""
    questions = training_set(base, data)
    number = {tuple(query.tolist()): i for i, query in enumerate(questions.query_tokens)}
    assert len(number) == QUESTIONS
    seen: list[list[int]] = []

    def noting(groups: list[Any], **options: Any) -> Any:
        seen.append([number[tuple(group["query"].tolist())] for group in groups])
        return collate_arrays(groups, **options)

    monkeypatch.setattr(questions, "collate", noting)
    run(base, questions, tmp_path, dataloader_drop_last=drop_last)
    epochs = [[question for batch in seen[i : i + batches] for question in batch] for i in range(0, len(seen), batches)]
    assert len(epochs) == 3
    for epoch in epochs:
        assert len(set(epoch)) == len(epoch) == (32 if drop_last else QUESTIONS)
    assert epochs[0] != epochs[1] != epochs[2]
    dropped = [set(range(QUESTIONS)) - set(epoch) for epoch in epochs]
    assert not drop_last or dropped[0] != dropped[1]


def test_a_gradient_that_is_not_finite_stops_the_training_before_its_step(
    tmp_path: Path, base: Path, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the last of four steps, with a loss that is finite."""
    clip = torch.nn.utils.clip_grad_norm_
    norms: list[torch.Tensor] = []

    def clipping(parameters: list[torch.nn.Parameter], most: float) -> torch.Tensor:
        norms.append(clip(parameters, most))
        return norms[-1] if len(norms) < 4 else torch.tensor(float("inf"))

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", clipping)
    with pytest.raises(EmbedTuneError, match=r"the gradient's norm is inf at step 4 of 4.*step-000003"):
        run(base, training_set(base, data), tmp_path, num_train_epochs=1, save_strategy="steps", save_steps=1)


@pytest.mark.parametrize(("accumulation", "batch_size"), [(1, 8), (3, 24), (16, 32)])
def test_the_records_count_what_was_read(
    tmp_path: Path, base: Path, data: Data, accumulation: int, batch_size: int
) -> None:
    """Four batches of eight an epoch; the fifth, of five questions, is dropped."""
    trained = run(base, training_set(base, data), tmp_path, gradient_accumulation_steps=accumulation, logging_steps=3)
    record = summary(trained, QUESTIONS, "ndcg@10")
    assert (record["batch_size"], record["questions_left_out_of_an_epoch"]) == (batch_size, 5)
    assert trained.record.questions == 3 * 32
    every_step = run(base, training_set(base, data), tmp_path, gradient_accumulation_steps=accumulation)
    steps = every_step.schedule.epoch_steps
    for epoch in range(3):
        losses = [line["loss"] for line in every_step.record.log[epoch * steps : (epoch + 1) * steps]]
        assert record["loss_of_epoch"][str(epoch + 1)] == pytest.approx(np.mean(losses))
    figures = cost(trained, torch.device("cpu"), "fp32", sequences_per_question=5)
    assert figures["questions_per_second"] == pytest.approx(96 / trained.record.seconds)
    assert 0 < figures["share_of_matrix_rate"] < 1
    weights = 2 * (4 * 128 * 128 + 2 * 128 * 512)
    length = trained.record.tokens / (96 * 5)
    flops = trained.record.tokens * (6 * weights + 12 * 2 * 128 * length)
    assert figures["flops_per_second_of_a_process"] == pytest.approx(flops / trained.record.seconds)


def test_group_size_one_trains_with_in_batch_negatives_alone(tmp_path: Path, base: Path, data: Data) -> None:
    """Also where no question has a negative; the loss is the cross entropy over the other questions' positives."""
    without = Data(data.mined, [replace(row, negatives=[]) for row in data.rows], data.passages)
    questions = training_set(base, without, group_size=1)
    log = run(base, questions, tmp_path, num_train_epochs=1).record.log
    batch = collate([questions[question] for question in epoch_batches(0)[0]], 0, multiple_of=1)
    assert batch["passages"]["input_ids"].shape[0] == 8
    model = AutoModel.from_pretrained(base)
    with torch.inference_mode():
        vectors = {}
        for side in ("queries", "passages"):
            mask = batch[side]["attention_mask"][:, :, None]
            hidden = (model(**batch[side]).last_hidden_state * mask).sum(1) / mask.sum(1)
            vectors[side] = torch.nn.functional.normalize(hidden, dim=-1).double().numpy()
    logits = vectors["queries"] @ vectors["passages"].T / OPTIONS["temperature"]
    expected = np.mean([math.log(np.exp(row - row[i]).sum()) for i, row in enumerate(logits)])
    assert log[0]["loss"] == pytest.approx(expected, abs=1e-5)


def test_too_few_questions_for_a_batch_are_refused(tmp_path: Path, base: Path, data: Data) -> None:
    with pytest.raises(
        EmbedTuneError, match=r"per_device_train_batch_size: 38 on 1 process\(es\) is more than the 37 training"
    ):
        run(base, training_set(base, data), tmp_path, per_device_train_batch_size=38)


def test_too_few_questions_train_where_the_incomplete_batch_is_kept(tmp_path: Path, base: Path, data: Data) -> None:
    questions = training_set(base, data)
    log = run(base, questions, tmp_path, per_device_train_batch_size=38, dataloader_drop_last=False).record.log
    assert [line["step"] for line in log] == [1, 2, 3]


def test_the_loss_curve_keeps_the_digits_of_a_small_learning_rate() -> None:
    line = {"step": 5, "epoch": 0.5, "loss": 4.0737349, "accuracy": 0.25, "learning_rate": 1.23456e-9}
    row = loss_curve([line]).iloc[0]
    assert (row["loss"], row["learning_rate"], row["step"]) == (4.0737349, 1.235e-9, 5)
