"""One optimiser step: its batches' gradient is summed over all processes, clipped and applied.

If memory runs out, the step is repeated with half as many tokens in memory. The batch size stays the same.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import get_scheduler

from embedtune.compute import distributed
from embedtune.compute.device import DTYPES, mixed_precision
from embedtune.core import cli
from embedtune.core.errors import EmbedTuneError
from embedtune.models.adapters import trained_parameters
from embedtune.training.grad_cache import Chunking, ChunkTooLargeError, accumulate_gradient
from embedtune.training.network import Network
from embedtune.training.objectives.objective import Objective
from embedtune.training.options import Optimizer

OWN_LEARNING_RATE = 1e-2  # of an objective's scale and bias: numbers of 1 to 100, which a model's rate would not move


@dataclass(frozen=True)
class StepResult:
    """The result of a step: `loss` and `accuracy` are weighted means over its examples on all processes.

    `accuracy` is the weighted share of the examples that the model got right (see the objective). `gradient_norm` is
    the L2 norm before clipping. If `finite` is false, the step was not applied. With fp16, an infinite gradient leaves
    it true: the loss scaler skips that step. `stop` is true if any process asked to stop. `tokens` is the number
    that this process read, padding excluded.
    """

    loss: float
    accuracy: float
    gradient_norm: float
    learning_rate: float
    finite: bool
    stop: bool
    tokens: int


class Optimisation:
    """Optimiser, learning-rate scheduler, loss scaler and chunking: the state that a step reads and changes."""

    def __init__(
        self,
        embedder: Network,
        objective: Objective,
        options: Optimizer,
        *,
        steps: int,
        chunking: Chunking,
        seed: int,
    ) -> None:
        """`steps` counts all optimiser steps, warm-up included; `chunking` holds until memory runs out.

        Weight decay applies to matrices, not to vectors (biases, norms). The objective's own parameters have a learning
        rate of their own.
        """
        self.embedder, self.objective, self.max_grad_norm, self.seed = embedder, objective, options.max_grad_norm, seed
        self.chunking = chunking
        self.parameters = trained_parameters(embedder)
        self.device = self.parameters[0].device
        self.own = list(self.own_parameters().values())
        self.of_model = [p for p in self.parameters if all(p is not own for own in self.own)]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.of_model if p.ndim > 1], "weight_decay": options.weight_decay},
            {"params": [p for p in self.of_model if p.ndim <= 1], "weight_decay": 0.0},
            *([{"params": self.own, "weight_decay": 0.0, "lr": OWN_LEARNING_RATE}] if self.own else []),
        ]
        fused = self.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, fused=fused)
        warmup = math.ceil(options.warmup_ratio * steps)
        self.scheduler = get_scheduler(options.lr_scheduler_type, self.optimizer, warmup, steps)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=options.precision == "fp16")
        self.dtype = DTYPES[options.precision]

    def step(self, batches: list[Any], number: int, stop: Callable[[], bool] = lambda: False) -> StepResult:
        """Take step `number` (from 0) on the mean loss of all examples in `batches`, this process's part of each batch.

        Every example counts by its weight, whatever the size of its batch.

        If `stop()` is true on any process, the result's `stop` is true on all. Raises EmbedTuneError if not even a
        chunk of one sequence fits in memory.
        """
        weight, tokens = self._weight(batches), self._tokens(batches)
        sums = self._gradients(batches, number, weight)
        while sums is None:
            self.optimizer.zero_grad()
            self._halve(batches)
            sums = self._gradients(batches, number, weight)
        distributed.all_reduce_gradients(self.parameters)
        self.scaler.unscale_(self.optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(self.of_model, self.max_grad_norm))
        if self.own:  # apart: their gradients are of another size
            own_norm = float(torch.nn.utils.clip_grad_norm_(self.own, self.max_grad_norm))
            norm = norm if math.isfinite(own_norm) else own_norm
        stopping = torch.full((1,), float(stop()), device=self.device)
        loss, accuracy, stopped = distributed.all_reduce(torch.cat([sums, stopping])).tolist()
        finite = math.isfinite(loss) and (self.scaler.is_enabled() or math.isfinite(norm))
        result = StepResult(loss, accuracy, norm, self.scheduler.get_last_lr()[0], finite, stopped > 0, tokens)
        if finite:
            self._apply()
        self.optimizer.zero_grad()
        return result

    def _weight(self, batches: list[Any]) -> float:
        """The weight of the step's batches on all processes."""
        own = torch.full((1,), sum(self.objective.weight(batch) for batch in batches), device=self.device)
        return float(distributed.all_reduce(own))

    def _tokens(self, batches: list[Any]) -> int:
        sides = [side for batch in batches for side in self.objective.sides(batch).values()]
        return sum(int(side["attention_mask"].sum()) for side in sides)

    def _gradients(self, batches: list[Any], number: int, weight: float) -> torch.Tensor | None:
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
            "chunk_tokens": self.chunking.tokens,
            "own_parameters": {name: own.detach().clone() for name, own in self.own_parameters().items()},
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        self.chunking = replace(self.chunking, tokens=state["chunk_tokens"])
        with torch.no_grad():
            for name, own in self.own_parameters().items():
                own.copy_(state["own_parameters"][name])

    def own_parameters(self) -> dict[str, torch.nn.Parameter]:
        """The parameters that the objective trains beside the model's, such as a scale; the model's files lack them."""
        return dict(self.embedder.named_parameters(recurse=False))

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The mixed-precision context of the model's passes; trained weights, scores and loss stay in fp32."""
        return mixed_precision(self.device, self.dtype)

    def _gradient(self, batch: Any, step: int, index: int, weight: float) -> torch.Tensor:
        """Add one batch's gradient; return its part of the step's mean (loss, accuracy).

        `weight` is that of all the step's batches on all processes.
        """

        def loss_of(embeddings: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
            terms = self.objective.loss(self.embedder, embeddings, batch)
            return terms.total / weight, terms.correct / weight

        loss, accuracy = accumulate_gradient(
            self.embedder,
            self.objective.sides(batch),
            loss_of,
            chunking=self.chunking,
            seed=(self.seed, step, index, distributed.rank()),
            autocast=self.autocast,
            scale=self.scaler.scale,
        )
        return torch.stack([loss, accuracy])

    def _halve(self, batches: list[Any]) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        sides = [side for batch in batches for side in self.objective.sides(batch).values()]
        own = (sum(side["input_ids"].numel() for side in sides), max(side["input_ids"].shape[1] for side in sides))
        tokens, longest = map(max, zip(*distributed.all_gather_objects(own), strict=True))
        if self.chunking.tokens <= longest and self.chunking.kept < longest:  # chunks were of one sequence already
            raise EmbedTuneError(
                "not even one sequence at a time fits in the device's memory; write "
                "`gradient_checkpointing: true`, then a smaller `passage_max_len` (of a reranker `rerank.max_len`), or "
                "`method: lora`"
            )
        self.chunking = Chunking(self.chunking.tokens, min(self.chunking.kept, tokens)).halved()
        cli.say_once(
            f"train: out of memory; the batch stays, with {self.chunking.kept} tokens in memory at a time from here on "
            f"(`tokens_in_memory: {self.chunking.kept}` would start so)"
        )
