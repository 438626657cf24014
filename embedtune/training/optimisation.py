"""One optimiser step: its batches' gradient is summed over all processes, clipped and applied.

If a chunk of a batch does not fit in memory, the step is repeated with chunks of half the size. The batch size stays
the same.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from FlagEmbedding.abc.finetune.embedder import AbsEmbedderModel
from transformers import get_scheduler

from embedtune.compute import distributed
from embedtune.compute.device import DTYPES
from embedtune.core import cli
from embedtune.core.errors import EmbedTuneError
from embedtune.models.adapters import trained_parameters
from embedtune.training.batches import Batch
from embedtune.training.grad_cache import ChunkTooLargeError, accumulate_gradient, next_chunk_size
from embedtune.training.objectives.objective import Objective
from embedtune.training.options import Optimizer


@dataclass(frozen=True)
class StepResult:
    """The result of a step: `loss` and `accuracy` are weighted means over its examples on all processes.

    `accuracy` is the weighted share of the examples that the model got right (see the objective). `gradient_norm` is
    the L2 norm before clipping. If `finite` is false, the step was not applied. With fp16, an infinite gradient leaves
    it true: the loss scaler skips that step. `stop` is true if any process asked to stop.
    """

    loss: float
    accuracy: float
    gradient_norm: float
    learning_rate: float
    finite: bool
    stop: bool


class Optimisation:
    """Optimiser, learning-rate scheduler, loss scaler and chunk size: the state that a step reads and changes."""

    def __init__(
        self,
        embedder: AbsEmbedderModel,
        objective: Objective,
        options: Optimizer,
        *,
        steps: int,
        sub_batch_size: int | None,
        seed: int,
    ) -> None:
        """`steps` counts all optimiser steps, warm-up included; `sub_batch_size` is the first chunk size.

        Weight decay applies to matrices, not to vectors (biases, norms).
        """
        self.embedder, self.objective, self.max_grad_norm, self.seed = embedder, objective, options.max_grad_norm, seed
        self.sub_batch_size = sub_batch_size
        self.parameters = trained_parameters(embedder)
        self.device = self.parameters[0].device
        groups = [
            {"params": [p for p in self.parameters if p.ndim > 1], "weight_decay": options.weight_decay},
            {"params": [p for p in self.parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        fused = self.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, fused=fused)
        warmup = math.ceil(options.warmup_ratio * steps)
        self.scheduler = get_scheduler(options.lr_scheduler_type, self.optimizer, warmup, steps)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=options.precision == "fp16")
        self.dtype = DTYPES[options.precision]

    def step(self, batches: list[Batch], number: int, stop: Callable[[], bool] = lambda: False) -> StepResult:
        """Take step `number` (from 0) on the mean loss of all examples in `batches`, this process's part of each batch.

        Every example counts by its weight, whatever the size of its batch.

        If `stop()` is true on any process, the result's `stop` is true on all. Raises EmbedTuneError if not even a
        chunk of one sequence fits in memory.
        """
        weight = self._weight(batches)
        sums = self._gradients(batches, number, weight)
        while sums is None:
            self.optimizer.zero_grad()
            sides = [side for batch in batches for side in self.objective.sides(batch).values()]
            self._halve(max(len(side["input_ids"]) for side in sides))
            sums = self._gradients(batches, number, weight)
        distributed.all_reduce_gradients(self.parameters)
        self.scaler.unscale_(self.optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm))
        stopping = torch.full((1,), float(stop()), device=self.device)
        loss, accuracy, stopped = distributed.all_reduce(torch.cat([sums, stopping])).tolist()
        finite = math.isfinite(loss) and (self.scaler.is_enabled() or math.isfinite(norm))
        result = StepResult(loss, accuracy, norm, self.scheduler.get_last_lr()[0], finite, stopped > 0)
        if finite:
            self._apply()
        self.optimizer.zero_grad()
        return result

    def _weight(self, batches: list[Batch]) -> float:
        """The weight of the step's batches on all processes."""
        own = torch.full((1,), sum(self.objective.weight(batch) for batch in batches), device=self.device)
        return float(distributed.all_reduce(own))

    def _gradients(self, batches: list[Batch], number: int, weight: float) -> torch.Tensor | None:
        """Add the batches' gradients; return this process's parts of (loss, accuracy), None if memory ran out."""
        try:
            return torch.stack([self._gradient(b, number, i, weight) for i, b in enumerate(batches)]).sum(0)
        except ChunkTooLargeError:
            return None

    def _apply(self) -> None:
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.get_scale() >= scale:  # fp16: a lower scale means an overflow and a skipped step
            self.scheduler.step()

    def state(self) -> dict[str, Any]:
        """The state that a checkpoint needs to resume from this step."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "sub_batch_size": self.sub_batch_size,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        self.sub_batch_size = state["sub_batch_size"]

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The mixed-precision context of the model's passes; trained weights, scores and loss stay in fp32."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def _gradient(self, batch: Batch, step: int, index: int, weight: float) -> torch.Tensor:
        """Add one batch's gradient; return its part of the step's mean (loss, accuracy).

        `weight` is that of all the step's batches on all processes.
        """

        def loss_of(embeddings: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
            terms = self.objective.loss(self.embedder, embeddings, batch, self.sub_batch_size)
            return terms.total / weight, terms.correct / weight

        loss, accuracy = accumulate_gradient(
            self.embedder,
            self.objective.sides(batch),
            loss_of,
            sub_batch_size=self.sub_batch_size,
            seed=(self.seed, step, index, distributed.rank()),
            autocast=self.autocast,
            scale=self.scaler.scale,
        )
        return torch.stack([loss, accuracy])

    def _halve(self, sequences: int) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            self.sub_batch_size = next_chunk_size(self.sub_batch_size, sequences)
        except ChunkTooLargeError as error:
            raise EmbedTuneError(
                "not even one sequence at a time fits in the device's memory; write "
                "`gradient_checkpointing: true`, then a smaller `passage_max_len`, or `method: lora`"
            ) from error
        cli.say_once(
            f"train: out of memory; the batch stays, in chunks of {self.sub_batch_size} sequences from here on "
            f"(`sub_batch_size: {self.sub_batch_size}` would start so)"
        )
