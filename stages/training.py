"""What the stages that train share: a training as params.yaml has it, resumed where one was killed, and its records."""

import functools
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from embedtune.compute import distributed
from embedtune.compute.chosen_once import chosen_once
from embedtune.compute.costs import write_cost
from embedtune.compute.device import training_precision
from embedtune.config import paths
from embedtune.config.reading import value_text
from embedtune.config.recipe import Setting, told
from embedtune.config.schema import Params, Train
from embedtune.core import cli, files
from embedtune.core.errors import EmbedTuneError
from embedtune.core.run_folder import describe_run, run_name, write_description
from embedtune.models.weight_change import relative_change
from embedtune.training import checkpoints
from embedtune.training.batches import ExampleSet
from embedtune.training.evaluation_budget import Budget, evaluation_budget
from embedtune.training.fine_tune import DevQuestions, fine_tune, schedule_of, write_tuned
from embedtune.training.objectives.objective import Objective
from embedtune.training.options import Adapter, Batching, Evaluating, Optimizer, Saving, from_section
from embedtune.training.outcome import warnings
from embedtune.training.records import cost, summary, write_records
from stages.running import code_of, in_words


class DevOfAnySize(Protocol):
    """Dev questions that can be ranked among fewer documents, those of the first `top` ranks."""

    @property
    def top(self) -> int:
        """The number of ranks."""

    def of_top(self, top: int) -> Any:
        """The set with the first `top` ranks, which has `score` and `tokens`."""


@dataclass(frozen=True)
class Job:
    """A training: what it begins with, what it learns from and by what it is judged.

    `section` is the section of params.yaml that has the keys of `settings`, `rows` what a row of the training set is.
    `sequences` is how many token sequences belong to a row. `options` are the training's keys that no recipe chooses.
    `rival` is the name of the dev figure that a checkpoint
    should exceed, what it is of, in words, and the function that measures it on the dev set.
    """

    name: str
    section: str
    base: Path
    options: Train
    settings: dict[str, Setting]
    objective: Objective
    training_set: ExampleSet
    rows: str
    sequences: int
    dev: DevOfAnySize | None
    rival: tuple[str, str, Callable[[Any], dict[str, float]]]
    doubts: list[str]


def across_processes(stage: str, name: str, nproc_per_node: int | str, work: Callable[[], None]) -> None:
    """Do `work` in as many processes as params.yaml asks for, which torchrun starts, or in this one alone."""
    processes = distributed.processes_per_node(nproc_per_node)
    if not distributed.is_launched() and (processes > 1 or distributed.several_nodes()):
        distributed.launch(f"stages.{stage}", [name], processes, across_machines=True)
        return
    with distributed.process_group():
        work()


def describe(params: Params, stage: str, name: str, keys: tuple[str, ...], derived: str, inputs: list[Path]) -> Any:
    """All that the training depends on, a hash of which names the checkpoints' folder.

    `keys` are those of params.yaml, `derived` is what follows from the machine, the data and the model. Raises
    EmbedTuneError if the description is not the same on every machine.
    """
    parameters = {key: value_text(params, key) for key in keys}
    agreed = distributed.agreed(lambda: describe_run(name, parameters, derived, [*inputs, *code_of(stage)]))
    if agreed is None:
        raise EmbedTuneError(
            "the machines differ in params.yaml, code, library versions, data/ or models/; give every machine a copy "
            f"of the project as it is before `dvc repro {stage}@{name}`"
        )
    return agreed


def train(job: Job, description: Any, device: torch.device) -> None:
    """Train together with the other processes, if any; the main process writes the model and what is told of it."""
    scratch = paths.CHECKPOINTS / run_name(description)
    if distributed.is_main():
        write_description(scratch, description)
    options, values = job.options, {key: setting.value for key, setting in job.settings.items()}
    precision = chosen_once(scratch, "precision", lambda: training_precision(options.precision, device))
    batching, evaluating = from_section(Batching, options, **values), from_section(Evaluating, options, **values)
    budget = _budget(job, evaluating, batching) if job.dev else None
    dev: DevQuestions | None = job.dev.of_top(budget.top) if job.dev and budget else None
    tensorboard = paths.TENSORBOARD / scratch.name
    tune = functools.partial(
        fine_tune,
        job.base,
        job.training_set,
        job.objective,
        run=scratch,
        tensorboard=tensorboard,
        adapter=from_section(Adapter, options, **values),
        batching=batching,
        optimizer=from_section(Optimizer, options, **values, precision=precision),
        evaluating=evaluating,
        saving=from_section(Saving, options),
        dev=dev,
        evaluate_only_after=budget.steps if budget else None,
        logging_steps=options.logging_steps,
        device=device,
    )
    cli.say_once(
        f"train: {len(job.training_set)} {job.rows} on {distributed.world_size()} x {device.type} in {precision}; "
        f"TensorBoard: {tensorboard}"
    )
    for sentence in told(job.settings):
        cli.say_once(f"train: {sentence}")
    if not distributed.is_main():
        tune()
        return
    with files.atomic_directory(paths.model(job.name)) as target, checkpoints.locked(scratch):
        if not checkpoints.last(scratch):
            shutil.rmtree(tensorboard, ignore_errors=True)  # logs of an earlier run of the same training
        trained = tune()
        write_tuned(trained, job.base, target, options.method)
        change = relative_change(job.base, target)
    metric, (rival, of_what, measured) = options.metric_for_best_model, job.rival
    figures = {"weight_change": change} | ({rival: measured(dev)[metric]} if dev else {})
    found = warnings(trained.record, change, metric, figures.get(rival), of_what)
    doubts = [*job.doubts, *(in_words(doubt, job.section, "train") for doubt in found)]
    settings = job.settings | {
        "precision": Setting(precision, "params.yaml" if options.precision != "auto" else "this machine")
    }
    used = [{"key": key, **setting._asdict()} for key, setting in settings.items()]  # as a list no columns of DVC's
    told_of = (
        summary(trained, len(job.training_set), metric, job.rows) | figures | {"warnings": doubts, "settings": used}
    )
    places = {"curve": paths.training_plot(job.name), "steps": paths.training_steps(job.name)}
    write_records(trained, told_of, summary_file=paths.training_metrics(job.name), **places)
    costs = cost(trained, device, precision, sequences_per_question=job.sequences)
    write_cost(paths.training_cost(job.name), costs, paths.training_metrics(job.name))
    record = trained.record
    cli.say(f"train: wrote {paths.model(job.name)} after {record.step} steps in {record.seconds:.0f} s")
    for doubt in doubts:
        cli.say(f"train: WARNING: {doubt}")
    checkpoints.finish(scratch, keep_models=options.save_strategy != "no")
    write_description(scratch, description, finished=True)


def _budget(job: Job, evaluating: Evaluating, batching: Batching) -> Budget:
    """How often dev is evaluated, and among how many documents, within `max_evaluation_share`; it is said."""
    assert job.dev is not None, "there is something to evaluate"
    dev, training_set, options = job.dev, job.training_set, job.options
    most = options.max_evaluation_share
    schedule = schedule_of(len(training_set), batching)
    strategy, every = evaluating.eval_strategy, evaluating.eval_steps
    due = [step for step in range(1, schedule.steps + 1) if schedule.is_due(step, strategy, every)]
    questions = schedule.epochs * (len(training_set) - schedule.plan.left_out)
    tokens = int(questions * training_set.mean_tokens())
    budget = evaluation_budget(due, dev.top, lambda top: dev.of_top(top).tokens(), tokens, most)
    fewer = [f"{len(budget.steps)} time(s) instead of {len(due)}"] if len(budget.steps) < len(due) else []
    if budget.top < dev.top:
        fewer.append(f"among the best {budget.top} documents of each result instead of {dev.top}")
    if fewer:
        cli.say_once(
            f"train: dev is evaluated {', '.join(fewer)}, which costs {budget.share:.0%} of the training "
            f"(train.max_evaluation_share is {most:.0%})"
        )
    return budget
