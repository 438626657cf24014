"""The training loop: optimiser steps, evaluation, checkpoints, and resuming from them.

It replaces Hugging Face's Trainer for three reasons. Checkpoints are either complete or absent. A batch may be embedded
in chunks, and gradients are summed over processes only after the last chunk. Every random number is a function of
(seed, step), so that a resumed run gives bit-identical results to an uninterrupted one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from embedtune.compute import distributed
from embedtune.core.errors import SHOWN_PROBLEMS, EmbedTuneError
from embedtune.training import checkpoints
from embedtune.training.batches import BatchPlan
from embedtune.training.optimisation import Optimisation, StepResult
from embedtune.training.options import Evaluating, Saving
from embedtune.training.progress_bar import TrainingBar
from embedtune.training.stopping import stop_request


@dataclass(frozen=True)
class Schedule:
    """The schedule of optimiser steps. A step takes `accumulation` batches; an epoch's last step may take fewer."""

    plan: BatchPlan
    epochs: int
    accumulation: int

    @property
    def epoch_steps(self) -> int:
        """The number of steps in an epoch."""
        return math.ceil(self.plan.batches / self.accumulation)

    @property
    def steps(self) -> int:
        """The number of steps in all epochs."""
        return self.epoch_steps * self.epochs

    def batches_of(self, step: int) -> int:
        """The number of batches in this step (from 0)."""
        return min(self.accumulation, self.plan.batches - step % self.epoch_steps * self.accumulation)

    def batches_before(self, step: int) -> int:
        """The number of batches in all steps before this one."""
        epochs, steps = divmod(step, self.epoch_steps)
        return epochs * self.plan.batches + steps * self.accumulation

    def is_due(self, step: int, strategy: str, every: int) -> bool:
        """Whether an event is due after `step` steps.

        `strategy` is no (never), epoch (after each epoch) or steps (after each `every` steps, and after the last one).
        """
        if strategy == "steps":
            return step % every == 0 or step == self.steps
        return strategy == "epoch" and step % self.epoch_steps == 0


@dataclass(frozen=True)
class Evaluator:
    """Evaluation on dev: `score` returns the current model's per-query measures, as often as `options` say.

    `only_after`, if given, are the steps among these after which it is done (see evaluation_budget.py).
    """

    score: Callable[[], pd.DataFrame]
    options: Evaluating
    only_after: Collection[int] | None = None

    def is_due(self, schedule: Schedule, step: int) -> bool:
        """Whether dev is evaluated after `step` steps."""
        if self.only_after is not None and step not in self.only_after:
            return False
        return schedule.is_due(step, self.options.eval_strategy, self.options.eval_steps)


@dataclass(frozen=True)
class Checkpointing:
    """Checkpoints in the directory `run`, as often as `options` say. `write_weights` fills one with the model."""

    run: Path
    write_weights: Callable[[Path], None]
    options: Saving

    def is_due(self, schedule: Schedule, step: int) -> bool:
        """Whether a checkpoint is written after `step` steps."""
        return schedule.is_due(step, self.options.save_strategy, self.options.save_steps)

    def folder(self, step: int) -> Path:
        """The directory of a step's checkpoint."""
        return checkpoints.folder(self.run, step)


@dataclass
class Record:
    """The history of the training run, saved in every checkpoint.

    `log` has lines of step, epoch, loss and accuracy (means since the previous line), learning_rate and grad_norm.
    `evaluations` have step, epoch and the mean dev measures; `scores` has the per-query values of each evaluation.
    `questions` and `tokens` are the numbers that this process has read, repetitions included, padding excluded.
    `seconds` is the time of the steps, without evaluations and checkpoints.
    """

    step: int = 0
    log: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)
    window: list[list[float]] = field(default_factory=list)  # figures of each step since the last log line
    epoch_losses: list[list[float]] = field(default_factory=list)  # [sum of losses, steps] of each epoch
    questions: int = 0
    seconds: float = 0.0
    tokens: int = 0
    improvements: list[int] = field(default_factory=list)  # each step that was the best when it was evaluated

    def best_until(self, step: int) -> int | None:
        """The best of the steps up to `step`; None if none of them was evaluated."""
        return max((best for best in self.improvements if best <= step), default=None)

    @property
    def best_step(self) -> int | None:
        """The best of all steps so far."""
        return self.best_until(self.step)


def train(
    optimisation: Optimisation,
    batches: Iterator[Any],
    schedule: Schedule,
    record: Record,
    *,
    saving: Checkpointing,
    evaluation: Evaluator | None,
    logging_steps: int,
    tensorboard: Path,
) -> None:
    """Run the remaining steps of the schedule, after `record.step`; `batches` starts at the first of them.

    Every process of the group calls this with its own part of the batches; the main process writes. Raises
    EmbedTuneError if the loss or gradient is not finite, and after a signal to stop, once a checkpoint is written.
    """
    steps = schedule.steps
    with stop_request() as stop, TrainingBar(tensorboard, record.step, steps, distributed.is_main()) as bar:
        while record.step < steps and not (evaluation and _out_of_patience(record, evaluation)):
            started = time.perf_counter()
            step_batches = list(islice(batches, schedule.batches_of(record.step)))
            result = optimisation.step(step_batches, record.step, stop)
            _refuse_bad_loss(result, record, steps, step_batches, saving)
            seconds = time.perf_counter() - started
            _note(record, result, step_batches, seconds, schedule)
            bar.advance(result, schedule.plan.processes * sum(len(b["query_ids"]) for b in step_batches) / seconds)
            if record.step % logging_steps == 0:
                bar.log(_close_window(record, schedule))
            improved = False
            if evaluation and evaluation.is_due(schedule, record.step):
                improved = _evaluate(record, evaluation, schedule)
                bar.log(record.evaluations[-1])
            if improved or result.stop or saving.is_due(schedule, record.step):
                _save(optimisation, record, saving)
            if result.stop and record.step < steps:
                raise EmbedTuneError(
                    f"stopped after step {record.step} of {steps}, which is saved in "
                    f"{saving.folder(record.step)}; the next run goes on from there"
                )
        if record.window:
            bar.log(_close_window(record, schedule))


def _note(record: Record, result: StepResult, batches: list[Any], seconds: float, schedule: Schedule) -> None:
    if record.step % schedule.epoch_steps == 0:
        record.epoch_losses.append([0.0, 0])
    record.epoch_losses[-1][0] += result.loss
    record.epoch_losses[-1][1] += 1
    record.step += 1
    record.seconds += seconds
    record.window.append([result.loss, result.accuracy, result.learning_rate, result.gradient_norm])
    record.questions += sum(len(batch["query_ids"]) for batch in batches)
    record.tokens += result.tokens


def _close_window(record: Record, schedule: Schedule) -> dict[str, float]:
    """Add a log line: mean loss and accuracy since the last line, learning rate and gradient norm of the last step."""
    losses, accuracies, learning_rates, norms = zip(*record.window, strict=True)
    line = {
        "step": record.step,
        "epoch": record.step / schedule.epoch_steps,
        "loss": sum(losses) / len(losses),
        "accuracy": sum(accuracies) / len(accuracies),
        "learning_rate": learning_rates[-1],
        "grad_norm": norms[-1],
    }
    record.log.append(line)
    record.window.clear()
    return line


def _evaluate(record: Record, evaluation: Evaluator, schedule: Schedule) -> bool:
    """Evaluate on dev and record the measures; return whether they are the best so far."""
    table = evaluation.score()
    before = [line[evaluation.options.metric_for_best_model] for line in record.evaluations]
    means = {str(name): float(mean) for name, mean in table.mean().items()}
    record.evaluations.append({"step": record.step, "epoch": record.step / schedule.epoch_steps, **means})
    record.scores.append(table[evaluation.options.metric_for_best_model].tolist())
    if before and means[evaluation.options.metric_for_best_model] <= max(before):
        return False
    record.improvements.append(record.step)
    return True


def _out_of_patience(record: Record, evaluation: Evaluator) -> bool:
    if evaluation.options.early_stopping_patience is None:
        return False
    since = [line for line in record.evaluations if record.best_step is not None and line["step"] > record.best_step]
    return len(since) >= evaluation.options.early_stopping_patience


def _save(optimisation: Optimisation, record: Record, saving: Checkpointing) -> None:
    def write() -> None:
        state = {**optimisation.state(), "record": asdict(record)}
        checkpoints.write(saving.folder(record.step), saving.write_weights, state)
        checkpoints.rotate(saving.run, saving.options.save_total_limit, record.best_until)

    distributed.computed_on_main(write)


def _refuse_bad_loss(result: StepResult, record: Record, steps: int, batches: list[Any], saving: Checkpointing) -> None:
    """Raise EmbedTuneError if the loss or gradient is NaN or infinite: further steps would be wasted."""
    if result.finite:
        return
    own = [query for batch in batches for query in batch["query_ids"]]
    questions = [query for part in distributed.all_gather_objects(own) for query in part]
    shown = ", ".join(questions[:SHOWN_PROBLEMS]) + (" and others" if len(questions) > SHOWN_PROBLEMS else "")
    what = f"loss is {result.loss}" if not math.isfinite(result.loss) else f"gradient's norm is {result.gradient_norm}"
    raise EmbedTuneError(
        f"the {what} at step {record.step + 1} of {steps}, on the questions {shown}; that step was not taken, and the "
        f"last good checkpoint is {checkpoints.last(saving.run) or 'none'}; "
        "lower `learning_rate`, or write `precision: bf16` or `fp32`"
    )
