"""What a training should be told for: it changed nothing, its loss did not fall, dev got worse."""

from __future__ import annotations

from collections.abc import Iterator

from embedtune.training.loop import Record

NO_CHANGE = 1e-6  # of the weights, relative: float32's own precision
LINES = 4  # of the loss curve, at least, before its course is judged


def warnings(
    record: Record, weight_change: float, metric: str, base: float | None, rival: str = "the base model"
) -> Iterator[str]:
    """Yield a sentence for each reason to doubt the training; `weight_change` is that of `relative_change`.

    `metric` is the measure on dev by which the best checkpoint was chosen, `base` the mean of it that `rival` has (None
    without an evaluation). Parameters stand in backticks.
    """
    if weight_change < NO_CHANGE:
        yield (
            f"it changed nothing: the weights differ from those it began with by {weight_change:.1g} of their size; "
            "raise `learning_rate` or `num_train_epochs`, or see that `lora_target_modules` names layers of the model"
        )
    losses = [line["loss"] for line in record.log]
    part = len(losses) // LINES
    if part:
        first, last = sum(losses[:part]) / part, sum(losses[-part:]) / part
        if last >= first:
            yield (
                f"the loss did not fall: {first:.4g} at first, {last:.4g} at last; another `learning_rate` may help, "
                "or the pairs have nothing to learn"
            )
    if base is not None and record.evaluations:
        best = max(line[metric] for line in record.evaluations)
        if best < base or (best == base and rival != "the base model"):
            yield (
                f"no checkpoint is as good as {rival}: {metric} {best:.4f} at best, {base:.4f} of {rival}, among the "
                "documents that dev questions are ranked among; a lower `learning_rate`"
                + (", or null for `temperature`, may help" if rival == "the base model" else " or more rows may help")
            )
