"""One optimiser step: its batches' gradient is summed over all processes, clipped and applied.

If a chunk of a batch does not fit in memory, the step is repeated with chunks of half the size. The batch size stays
the same.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
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
from embedtune.training.objectives import Candidates, contrastive_loss, false_negative_mask


@dataclass(frozen=True)
class StepResult:
    """The result of a step: `loss` and `accuracy` are means over its batches and processes.

    `accuracy` is the share of queries whose positive scores highest. `gradient_norm` is the L2 norm before clipping. If
    `finite` is false, the step was not applied. With fp16, an infinite gradient leaves it true: the loss scaler skips
    that step. `stop` is true if any process asked to stop.
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
        *,
        learning_rate: float,
        weight_decay: float,
        max_grad_norm: float,
        lr_scheduler_type: str,
        warmup_ratio: float,
        steps: int,
        precision: str,
        negatives: str,
        mask_false_negatives: bool,
        false_negative_margin: float | None,
        matryoshka_dims: Sequence[int],
        sub_batch_size: int | None,
        seed: int,
    ) -> None:
        """`negatives` is group, in_batch or cross_device; `steps` counts all optimiser steps, warm-up included.

        Weight decay applies to matrices, not to vectors (biases, norms).
        """
        self.embedder, self.max_grad_norm, self.seed = embedder, max_grad_norm, seed
        self.negatives, self.mask_false_negatives = negatives, mask_false_negatives
        self.false_negative_margin, self.matryoshka_dims = false_negative_margin, matryoshka_dims
        self.sub_batch_size = sub_batch_size
        self.parameters = trained_parameters(embedder)
        self.device = self.parameters[0].device
        groups = [
            {"params": [p for p in self.parameters if p.ndim > 1], "weight_decay": weight_decay},
            {"params": [p for p in self.parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=learning_rate, fused=self.device.type in ("cpu", "cuda"))
        self.scheduler = get_scheduler(lr_scheduler_type, self.optimizer, math.ceil(warmup_ratio * steps), steps)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.dtype = DTYPES[precision]

    def step(self, batches: list[Batch], number: int, stop: Callable[[], bool] = lambda: False) -> StepResult:
        """Take step `number` (from 0) on the mean loss of `batches`, which hold this process's part of each batch.

        If `stop()` is true on any process, the result's `stop` is true on all. Raises EmbedTuneError if not even a
        chunk of one sequence fits in memory.
        """
        sums = self._gradients(batches, number)
        while sums is None:
            self.optimizer.zero_grad()
            self._halve(max(len(batch["passages"]["input_ids"]) for batch in batches))
            sums = self._gradients(batches, number)
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

    def _gradients(self, batches: list[Batch], number: int) -> torch.Tensor | None:
        """Add the batches' gradients; return this process's parts of (loss, accuracy), None if memory ran out."""
        try:
            return torch.stack([self._gradient(b, number, i, len(batches)) for i, b in enumerate(batches)]).sum(0)
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

    def _gradient(self, batch: Batch, step: int, index: int, batches: int) -> torch.Tensor:
        """Add one batch's gradient; return its and this process's parts of the step's mean (loss, accuracy)."""
        share = 1 / (batches * distributed.world_size())

        def loss_of(queries: torch.Tensor, passages: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            everywhere = (
                distributed.all_gather_with_gradient(passages) if self.negatives == "cross_device" else passages
            )
            loss, correct = contrastive_loss(
                self.embedder,
                queries,
                everywhere,
                self._candidates(batch, len(everywhere)),
                matryoshka_dims=self.matryoshka_dims,
                group_only=self.negatives == "group",
                false_negative_margin=self.false_negative_margin,
                query_chunk_size=self.sub_batch_size,
            )
            return loss * share, correct * (share / len(queries))

        loss, accuracy = accumulate_gradient(
            self.embedder,
            batch["queries"],
            batch["passages"],
            loss_of,
            sub_batch_size=self.sub_batch_size,
            seed=(self.seed, step, index, distributed.rank()),
            autocast=self.autocast,
            scale=self.scaler.scale,
        )
        return torch.stack([loss, accuracy])

    def _candidates(self, batch: Batch, count: int) -> Candidates:
        queries = len(batch["query_ids"])
        group = len(batch["documents"]) // queries
        across = count > len(batch["documents"])
        first = distributed.rank() * queries if across else 0
        target = (first + torch.arange(queries, device=self.device)) * group
        excluded = None
        if self.mask_false_negatives:
            documents = batch["documents"].to(self.device, non_blocking=True)
            relevant = batch["relevant"].to(self.device, non_blocking=True)
            excluded = false_negative_mask(
                relevant, distributed.all_gather(documents) if across else documents, target, group
            )
        teacher = None if batch["scores"] is None else batch["scores"].to(self.device)
        return Candidates(target, group, excluded, teacher)

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
