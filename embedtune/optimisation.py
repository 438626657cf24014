"""One optimiser step: the gradient of its batches over all processes, clipped, applied; smaller chunks if need be."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from FlagEmbedding.abc.finetune.embedder import AbsEmbedderModel
from transformers import get_scheduler

from embedtune import cli, distributed
from embedtune.adapters import trained_parameters
from embedtune.device import DTYPES
from embedtune.errors import EmbedTuneError
from embedtune.grad_cache import ChunkTooLargeError, accumulate_gradient, halved
from embedtune.objectives import Candidates, contrastive_loss, relevant_elsewhere
from embedtune.training_data import Batch


@dataclass(frozen=True)
class StepResult:
    """Means over the step's questions on all processes; `gradient_norm` is from before clipping.

    A step that is not `finite` was not taken (with fp16, gradients may be infinite: such steps are skipped).
    """

    loss: float
    accuracy: float
    gradient_norm: float
    learning_rate: float
    finite: bool
    stop: bool


class Optimisation:
    """Optimiser, schedule, loss scaling and chunk size: the state that a step reads and changes."""

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
        """`negatives` is group, in_batch or cross_device; `steps` are all optimiser steps, the warm-up's included.

        Matrices decay, vectors (biases, norms) do not.
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
        """Take step `number` on the mean loss of `batches`, this process's part of each.

        A `stop` that is true on any process comes back as the result's on all. Raises EmbedTuneError where not even
        a chunk of one sequence fits in memory.
        """
        sums = self._gradients(batches, number)
        while sums is None:
            self.optimizer.zero_grad()
            self._halve(max(len(batch["passages"]["input_ids"]) for batch in batches))
            sums = self._gradients(batches, number)
        distributed.add_up_gradients(self.parameters)
        self.scaler.unscale_(self.optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm))
        stopping = torch.full((1,), float(stop()), device=self.device)
        loss, accuracy, stopped = distributed.add_up(torch.cat([sums, stopping])).tolist()
        finite = math.isfinite(loss) and (self.scaler.is_enabled() or math.isfinite(norm))
        result = StepResult(loss, accuracy, norm, self.scheduler.get_last_lr()[0], finite, stopped > 0)
        if finite:
            self._apply()
        self.optimizer.zero_grad()
        return result

    def _gradients(self, batches: list[Batch], number: int) -> torch.Tensor | None:
        """Fill the parameters' gradients; (loss, accuracy) as this process's shares; None where memory ran out."""
        try:
            return torch.stack([self._gradient(b, number, i, len(batches)) for i, b in enumerate(batches)]).sum(0)
        except ChunkTooLargeError:
            return None

    def _apply(self) -> None:
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.get_scale() >= scale:  # fp16: a step whose gradient overflowed was not taken
            self.scheduler.step()

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs to go on from here."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "sub_batch_size": self.sub_batch_size,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        self.sub_batch_size = state["sub_batch_size"]

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Mixed precision for the model's passes; weights, scores and loss stay in fp32."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def _gradient(self, batch: Batch, step: int, index: int, batches: int) -> torch.Tensor:
        """Add one batch's share of the step's gradient; (loss, accuracy) as this process's shares of the means."""
        share = 1 / (batches * distributed.world_size())

        def loss_of(queries: torch.Tensor, passages: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            everywhere = distributed.gather_with_gradient(passages) if self.negatives == "cross_device" else passages
            loss, correct = contrastive_loss(
                self.embedder,
                queries,
                everywhere,
                self._candidates(batch, len(everywhere)),
                matryoshka_dims=self.matryoshka_dims,
                group_only=self.negatives == "group",
                false_negative_margin=self.false_negative_margin,
                queries_at_once=self.sub_batch_size,
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
            excluded = relevant_elsewhere(
                relevant, distributed.gather(documents) if across else documents, target, group
            )
        teacher = None if batch["scores"] is None else batch["scores"].to(self.device)
        return Candidates(target, group, excluded, teacher)

    def _halve(self, sequences: int) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            self.sub_batch_size = halved(self.sub_batch_size, sequences)
        except ChunkTooLargeError as error:
            raise EmbedTuneError(
                "not even one sequence at a time fits in the device's memory; write "
                "`train.gradient_checkpointing: true`, then a smaller train.passage_max_len, or `train.method: lora`"
            ) from error
        cli.say_once(
            f"train: out of memory; the batch stays, in chunks of {self.sub_batch_size} sequences from here on "
            f"(params.yaml: train.sub_batch_size: {self.sub_batch_size} would start so)"
        )
