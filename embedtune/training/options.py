"""The options of a training, grouped by what they are about; names, units and ranges are those of params.yaml.

Each class is a frozen dataclass that `from_section` fills from a flat section of parameters. A new option is written in
params.yaml, in the schema, in its class here, and where it is used.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeVar

Options = TypeVar("Options")


@dataclass(frozen=True)
class Adapter:
    """Which weights are trained: `method` full (all), lora (adapters) or qlora (adapters on quantised weights).

    `attention_dropout` replaces the model's own probability; `own` leaves it.
    """

    method: str = "full"
    attention_dropout: float | str = "own"
    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    lora_target_modules: list[str] | None = None
    qlora_bits: int = 4


@dataclass(frozen=True)
class Batching:
    """How queries are grouped into batches, and in which order.

    A batch has `per_device_train_batch_size` queries on each process; an optimiser step has
    `gradient_accumulation_steps` batches. `tokens_in_memory` is the number of tokens whose activations are held at a
    time, padding included (None: as many as the free memory holds).
    """

    num_train_epochs: int = 1
    per_device_train_batch_size: int = 32
    gradient_accumulation_steps: int = 1
    tokens_in_memory: int | None = None
    group_by_length: bool = False
    dataloader_drop_last: bool = False
    dataloader_num_workers: int = 0
    seed: int = 42


@dataclass(frozen=True)
class Optimizer:
    """AdamW with a learning-rate schedule and gradient clipping; `precision` is fp32, fp16 or bf16 (mixed)."""

    learning_rate: float = 2e-5
    lr_scheduler_type: str = "linear"
    warmup_ratio: float = 0.1
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    precision: str = "fp32"
    gradient_checkpointing: bool = False


@dataclass(frozen=True)
class Evaluating:
    """When dev is evaluated: `eval_strategy` is no, epoch or steps (every `eval_steps`).

    The best checkpoint by `metric_for_best_model` becomes the model. `early_stopping_patience` evaluations in a row
    without an improvement stop the training (None: never).
    """

    eval_strategy: str = "no"
    eval_steps: int = 100
    metric_for_best_model: str = "ndcg@10"
    early_stopping_patience: int | None = None


@dataclass(frozen=True)
class Saving:
    """When checkpoints are written: `save_strategy` is no, epoch or steps (every `save_steps`).

    The last `save_total_limit` of them are kept (None: all), and the best one.
    """

    save_strategy: str = "no"
    save_steps: int = 100
    save_total_limit: int | None = 2


def from_section(options: type[Options], section: Any, **changed: Any) -> Options:
    """The options whose values are the attributes of `section` of the same names, but for those `changed`.

    Raises AttributeError if the section lacks one: no default of the class stands in for a parameter.
    """
    names = [field.name for field in fields(options)]  # type: ignore[arg-type]
    return options(**{name: changed[name] if name in changed else getattr(section, name) for name in names})
