"""What happens beside the training: the progress bar, a model after each epoch, a stop at a bad loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from embedtune.errors import EmbedTuneError
from embedtune.progress import bar

SaveModel = Callable[[torch.nn.Module, int], None]  # (backbone, epochs done)


class ProgressBar(TrainerCallback):
    """A bar over all steps with loss, accuracy and learning rate."""

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Open the bar."""
        self.bar = bar(total=state.max_steps, unit=" steps", desc="train")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Advance the bar; the last step is logged, whatever `logging_steps` is."""
        self.bar.update(state.global_step - self.bar.n)
        control.should_log |= state.global_step == state.max_steps

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, float], **_: Any
    ) -> None:
        """Show the newest loss."""
        if "loss" in logs:
            shown = {"loss": logs["loss"], "accuracy": logs["accuracy"], "lr": logs["learning_rate"]}
            self.bar.set_postfix({name: f"{value:.3g}" for name, value in shown.items()})

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Close the bar."""
        self.bar.close()


class EpochCheckpoints(TrainerCallback):
    """Saves the model after every epoch."""

    def __init__(self, save: SaveModel) -> None:
        self.save = save

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **_: Any
    ) -> None:
        """Hand the backbone on."""
        self.save(model.model, round(state.epoch or 0))  # epoch is a float, whole but for its rounding


class StopOnBadLoss(TrainerCallback):
    """Ends a training whose loss is NaN or infinite: what follows would be wasted."""

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, float], **_: Any
    ) -> None:
        """Raise EmbedTuneError when the loss is not finite."""
        if not math.isfinite(logs.get("loss", 0.0)):
            raise EmbedTuneError(
                f"the loss is {logs['loss']} at step {state.global_step} of {state.max_steps}; "
                "lower train.learning_rate, or write `train.precision: bf16` or `fp32`"
            )
