"""release: the fine-tuned model with its model card, gate verdict and score calibration, ready to load or to push."""

from typing import Any

from pydantic import TypeAdapter

from embedtune.comparison.card import Facts, Results, card
from embedtune.comparison.release import training_history, write_release
from embedtune.config import paths
from embedtune.config.reading import load_params
from embedtune.config.schema import Params
from embedtune.core import cli, files, json_files
from embedtune.models.settings import read_settings
from stages.running import run


def main() -> None:
    """Write models/release: the model (hard-linked if possible), README.md, calibration.json and gate.json."""
    params = load_params()
    tuned = params.hybrid.model
    comparison = json_files.read_json(paths.COMPARISON)
    gains = comparison["pairs"][f"{tuned}_over_base"]
    found = Results(
        data=json_files.read_json(paths.DATA_COUNTS),
        base={measure: comparison[measure]["base"] for measure in gains},
        tuned={measure: comparison[measure][tuned] for measure in gains},
        intervals=comparison["intervals"][tuned],
        gains=gains,
        calibration=json_files.read_json(paths.CALIBRATION),
        calibrated=json_files.read_json(paths.CALIBRATION_METRICS),
    )
    text = card(facts(params), read_settings(paths.model(tuned)), found)
    with files.atomic_directory(paths.RELEASE) as target:
        write_release(paths.model(tuned), target, text, [paths.CALIBRATION, paths.VERDICT])
    cli.say(f"release: wrote {paths.RELEASE} ({tuned}); `embedtune publish NAME/REPOSITORY` pushes it to a hub")


def facts(params: Params) -> Facts:
    """The facts on the model card, from the parameters and the metrics of a mixture."""
    name, mixing = params.hybrid.model, params.mix.get(params.hybrid.model)
    mixed = (mixing.model, json_files.read_json(paths.training_metrics(name))["share"]) if mixing else None
    data_on_hub, model_on_hub = params.dataset.source == "mldr", "/" in params.model.name
    sections = {
        "model": params.model,
        "segment": params.segment,
        "rounds": params.rounds,
        "mine": params.mine,
        "train": params.train,
        "mix": params.mix,
    }
    return Facts(
        path=str(paths.RELEASE),
        base_model=params.model.name,
        base_revision=params.model.revision if model_on_hub else None,
        data=params.dataset.repository if data_on_hub else f"{params.dataset.source} data",
        repository=params.dataset.repository if data_on_hub else None,
        language=params.dataset.language if data_on_hub else None,
        revision=params.dataset.revision if data_on_hub else None,
        split=params.evaluate.split,
        confidence=params.compare.confidence,
        origin=training_history(name, params.rounds, mixed, params.train.method, params.train.num_train_epochs),
        params=TypeAdapter(dict[str, Any]).dump_python(sections, mode="json"),
    )


if __name__ == "__main__":
    run(main)
