"""Fine-tune a model: set up the training loop, resume from the last checkpoint, return the best model."""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch

from embedtune.compute import distributed
from embedtune.compute.chosen_once import chosen_once
from embedtune.compute.device import DTYPES, mixed_precision, pick_device
from embedtune.core import cli
from embedtune.core.errors import ParameterError
from embedtune.evaluation.dev_evaluation import indistinguishable_from_best
from embedtune.models.adapters import load_for_training, load_weights, trained_parameters
from embedtune.models.cross_encoder import CrossEncoder, cross_encoder_of
from embedtune.models.encode import pad_token_id
from embedtune.models.encoder import Encoder
from embedtune.models.kinds import is_cross_encoder
from embedtune.models.merge import merge
from embedtune.models.saving import ADAPTER, save_trained
from embedtune.models.settings import read_settings
from embedtune.models.tokenization import load_tokenizer
from embedtune.training import checkpoints
from embedtune.training.batches import BatchPlan, BatchSampler, ExampleSet
from embedtune.training.grad_cache import Chunking
from embedtune.training.loading import batches, worker_deaths_explained
from embedtune.training.loop import Checkpointing, Evaluator, Record, Schedule, train
from embedtune.training.network import Network
from embedtune.training.objectives.objective import Objective
from embedtune.training.optimisation import Optimisation
from embedtune.training.options import Adapter, Batching, Evaluating, Optimizer, Saving
from embedtune.training.step_memory import chunking_for

EVALUATION_BATCH_TOKENS = 16_384  # tokens in one forward pass on a GPU; a CPU is faster with fewer
CUTOFF = 10  # of the measures on dev queries


class DevQuestions(Protocol):
    """Dev questions with what is ranked for them; see evaluation/dev_evaluation.py and dev_reranking.py."""

    def score(self, model: Any, *, batch_tokens: int, cutoffs: list[int]) -> pd.DataFrame:
        """Per-query measures of an Encoder or a CrossEncoder, such as `ndcg@10`: a row for each query."""


@dataclass(frozen=True)
class Trained:
    """The tuned model (a PeftModel for lora and qlora) on its device, with the record of its training.

    `trained_parameters` is the number of weights that were trained, `own_parameters` the last values of the
    objective's.
    """

    backbone: Any
    record: Record
    schedule: Schedule
    trained_parameters: int
    own_parameters: dict[str, float]


def fine_tune(
    base: Path,
    training_set: ExampleSet,
    objective: Objective,
    *,
    run: Path,
    tensorboard: Path,
    adapter: Adapter = Adapter(),
    batching: Batching = Batching(),
    optimizer: Optimizer = Optimizer(),
    evaluating: Evaluating = Evaluating(),
    saving: Saving = Saving(),
    dev: DevQuestions | None = None,
    evaluate_only_after: Collection[int] | None = None,
    logging_steps: int = 10,
    device: torch.device | None = None,
) -> Trained:
    """Fine-tune the model in `base`, an embedding model or a cross-encoder, with an objective such as `Contrastive()`.

    Checkpoints are written to the directory `run`; training resumes from its newest whole one. With `dev`, and
    unless `evaluating.eval_strategy` is no, dev is evaluated during training, and the main process returns the best
    checkpoint's weights; `evaluate_only_after` leaves out all other steps. A line of figures is logged every
    `logging_steps` steps, to the directory `tensorboard` too. `device` None is that of `pick_device`.
    Every process of the group calls this function with the same arguments.

    Raises ParameterError if there are too few queries for one batch, if a batch leaves nothing to learn, if the options
    of the adapter or the objective do not fit the model or the device, and if memory will not hold a sequence. Raises
    EmbedTuneError if the loss or gradient is not finite, if memory runs out with a single sequence, and after a signal
    to stop.
    """
    schedule = schedule_of(len(training_set), batching)
    objective.check(schedule.plan.batch_size, schedule.plan.processes, training_set.group_size)
    settings = None if is_cross_encoder(base) else read_settings(base)
    pad_id, device = pad_token_id(base), device or pick_device()
    last, state = _resume_point(run) if distributed.is_main() else (None, None)
    torch.manual_seed(batching.seed)  # for the initial weights of an adapter
    backbone = load_for_training(
        base, **vars(adapter), compute_dtype=DTYPES[optimizer.precision], device=device, checkpoint=last
    )
    distributed.broadcast_weights(trained_parameters(backbone))
    if optimizer.gradient_checkpointing:
        backbone.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    embedder = objective.embedder(backbone, settings)
    chunking = _chunking(embedder, training_set, batching, optimizer, run)
    optimisation = Optimisation(
        embedder, objective, optimizer, steps=schedule.steps, chunking=chunking, seed=batching.seed
    )
    record = Record()
    state = distributed.broadcast_from_main(state)
    if state:
        optimisation.load_state(state)
        record = Record(**state["record"])
        cli.say_once(f"train: going on from step {record.step} of {schedule.steps}, saved in {run}")

    reader: Encoder | CrossEncoder = (
        Encoder(backbone, load_tokenizer(base), settings, pad_id) if settings else cross_encoder_of(backbone, base)
    )

    def score() -> pd.DataFrame:
        assert dev is not None, "only a dev set is evaluated"
        with optimisation.autocast():
            batch_tokens = EVALUATION_BATCH_TOKENS if device.type == "cuda" else 2048
            return dev.score(reader, batch_tokens=batch_tokens, cutoffs=[CUTOFF])

    evaluated = dev and evaluating.eval_strategy != "no"
    evaluation = Evaluator(score, evaluating, evaluate_only_after) if evaluated else None
    sampler = BatchSampler(
        schedule.plan,
        epochs=batching.num_train_epochs,
        seed=batching.seed,
        rank=distributed.rank(),
        first=schedule.batches_before(record.step),
        lengths=training_set.lengths() if batching.group_by_length else None,
    )
    padded_to = 8 if device.type == "cuda" else 1
    with worker_deaths_explained():
        train(
            optimisation,
            batches(training_set, sampler, pad_id, padded_to, batching.dataloader_num_workers),
            schedule,
            record,
            saving=Checkpointing(run, lambda target: save_trained(backbone, base, target), saving),
            evaluation=evaluation,
            logging_steps=logging_steps,
            tensorboard=tensorboard,
        )
    if evaluation:
        _say_what_is_close(record, evaluating.metric_for_best_model)
    if record.best_step is not None and record.best_step != record.step and distributed.is_main():
        load_weights(backbone, checkpoints.folder(run, record.best_step))
    own = {name: value.item() for name, value in optimisation.own_parameters().items()}
    return Trained(backbone, record, schedule, sum(p.numel() for p in optimisation.parameters), own)


def _chunking(
    embedder: Network, training_set: ExampleSet, batching: Batching, optimizer: Optimizer, run: Path
) -> Chunking:
    """How batches are cut into chunks, for this machine's memory.

    A chunk's size is chosen once, and taken over when a run resumes: dropout depends on it. What is kept is not.
    """
    longest = training_set.longest()
    most = min(batching.per_device_train_batch_size, len(training_set)) * training_set.most_tokens()
    device = next(embedder.parameters()).device
    own = chunking_for(
        embedder,
        batching.tokens_in_memory,
        longest,
        most,
        functools.partial(mixed_precision, device, DTYPES[optimizer.precision]),
        gradient_checkpointing=optimizer.gradient_checkpointing,
        processes=distributed.processes_here() if device.type == "cpu" else 1,
        length_key=training_set.length_key,
    )
    tokens = chosen_once(run, "chunk_tokens", lambda: min(distributed.all_gather_objects(own.tokens)))
    chunking = Chunking(tokens, own.kept)
    if chunking.kept < most:
        cli.say_once(
            f"train: memory holds {chunking.kept} of a batch's up to {most} tokens at a time, in chunks of "
            f"{chunking.tokens}; what it does not hold is computed twice (GradCache), with the same result"
        )
    return chunking


def _resume_point(run: Path) -> tuple[Path | None, dict[str, Any] | None]:
    """The newest checkpoint that is as it was written, with its state; None without one. Damaged ones are named.

    The best checkpoint before it has to be whole too, since the training may end with that one.
    """
    for checkpoint in reversed(checkpoints.complete(run)):
        needed, problem = checkpoint, checkpoints.damaged(checkpoint)
        if problem is None:
            state = checkpoints.read_state(checkpoint)
            best = Record(**state["record"]).best_step
            needed = checkpoint if best is None else checkpoints.folder(run, best)
            problem = None if needed == checkpoint else checkpoints.damaged(needed)
            if problem is None:
                return checkpoint, state
        step = checkpoints.step_of(checkpoint)
        cli.say(
            f"train: {needed / problem} is damaged; the training does not go on from step {step} but from before it"
        )
    return None, None


def schedule_of(questions: int, batching: Batching) -> Schedule:
    """The optimiser steps of a training on `questions` questions.

    Raises ParameterError if there are too few for one batch.
    """
    size = batching.per_device_train_batch_size
    plan = BatchPlan(questions, size, distributed.world_size(), batching.dataloader_drop_last)
    if not plan.batches:
        raise ParameterError(
            "per_device_train_batch_size",
            f"{size} on {plan.processes} process(es) is more than the {questions} training questions; lower it, or "
            "write `dataloader_drop_last: false`, with at least one question for each process",
        )
    return Schedule(plan, batching.num_train_epochs, batching.gradient_accumulation_steps)


def _say_what_is_close(record: Record, metric: str) -> None:
    close = indistinguishable_from_best(record.evaluations, record.scores, metric)
    if close:
        cli.say_once(
            f"train: {len(record.scores[0])} dev questions are too few to tell step {record.best_step}, the best by "
            f"{metric}, from {', '.join(map(str, close))}: within two standard errors"
        )


def write_tuned(trained: Trained, base: Path, target: Path, method: str) -> None:
    """Write the tuned model to the directory `target`.

    An adapter (`method` lora or qlora) is written to `target`/adapter and merged into the model in `base`. Raises
    EmbedTuneError if the merged model's embeddings differ from those of base and adapter together.
    """
    if method == "full":
        save_trained(trained.backbone, base, target)
    else:
        save_trained(trained.backbone, base, target / ADAPTER)
        merge(base, target / ADAPTER, target)
