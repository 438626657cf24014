"""The display of a training run: a progress bar, and TensorBoard."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

from embedtune.core.progress import bar
from embedtune.training.optimisation import StepResult


class TrainingBar:
    """A progress bar over all steps with loss, accuracy, learning rate and queries per second.

    Log lines go to the directory `tensorboard`. Nothing is shown or written if `shown` is false, as it is on all
    processes but the main one.
    """

    def __init__(self, tensorboard: Path, first: int, steps: int, shown: bool) -> None:
        self.tensorboard, self.first, self.steps, self.shown = tensorboard, first, steps, shown

    def __enter__(self) -> TrainingBar:
        if self.shown:
            self.bar = bar(initial=self.first, total=self.steps, unit=" steps", desc="train")
            self.writer = SummaryWriter(str(self.tensorboard), purge_step=self.first + 1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.shown:
            self.bar.close()
            self.writer.close()

    def advance(self, result: StepResult, questions_per_second: float) -> None:
        """Advance by one step."""
        if self.shown:
            figures = {"loss": result.loss, "accuracy": result.accuracy, "lr": result.learning_rate}
            figures["pairs/s"] = questions_per_second
            self.bar.set_postfix({name: f"{value:.3g}" for name, value in figures.items()}, refresh=False)
            self.bar.update()

    def log(self, line: dict[str, float]) -> None:
        """Write a log line (as train/<name>) or an evaluation (as dev/<name>) to TensorBoard."""
        if self.shown:
            group = "train" if "loss" in line else "dev"
            for name, value in line.items():
                if name != "step":
                    self.writer.add_scalar(f"{group}/{name}", value, int(line["step"]))
