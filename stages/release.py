"""release: the tuned model with its card, verdict and what its scores mean, ready to load or to push to a hub."""

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from embedtune import cli, files
from embedtune.card import Facts, Found, card
from embedtune.config import Params, load_params
from embedtune.model import read_settings

RELEASE, METRICS, CALIBRATION = Path("models/release"), Path("metrics"), Path("data/calibration.json")


def main() -> None:
    """Write models/release: the model (linked where the file system can), README.md, calibration.json and gate.json."""
    params = load_params()
    tuned = params.hybrid.model
    model = Path("models") / tuned
    comparison = files.read_json(METRICS / "comparison.json")
    gains = comparison["pairs"][f"{tuned}_over_base"]
    found = Found(
        data=files.read_json(METRICS / "data.json"),
        base={measure: comparison[measure]["base"] for measure in gains},
        tuned={measure: comparison[measure][tuned] for measure in gains},
        intervals=comparison["intervals"][tuned],
        gains=gains,
        calibration=files.read_json(CALIBRATION),
        calibrated=files.read_json(METRICS / "calibration.json"),
    )
    with files.whole_directory(RELEASE) as target:
        shutil.copytree(
            model, target, dirs_exist_ok=True, copy_function=_link, ignore=shutil.ignore_patterns("README.md")
        )
        shutil.copy(CALIBRATION, target)
        shutil.copy(METRICS / "gate.json", target)
        (target / "README.md").write_text(card(facts(params), read_settings(model), found), encoding="utf-8")
    cli.say(f"release: wrote {RELEASE} ({tuned}); `python -m embedtune.publish NAME/REPOSITORY` pushes it to a hub")


def facts(params: Params) -> Facts:
    """What the card says of the parameters."""
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
        base_model=params.model.name,
        base_revision=params.model.revision if model_on_hub else None,
        data=params.dataset.repository if data_on_hub else f"{params.dataset.source} data",
        repository=params.dataset.repository if data_on_hub else None,
        language=params.dataset.language if data_on_hub else None,
        revision=params.dataset.revision if data_on_hub else None,
        split=params.evaluate.split,
        confidence=params.compare.confidence,
        origin=origin(params),
        params=TypeAdapter(dict[str, Any]).dump_python(sections, mode="json"),
    )


def origin(params: Params) -> str:
    """How the released weights came about: rounds from the base model on, and the mixture, if it is one."""
    name = params.hybrid.model
    mixed = params.mix.get(name)
    last = mixed.model if mixed else name
    chain = [last]
    while params.rounds[chain[0]] != "base":
        chain.insert(0, params.rounds[chain[0]])
    said = f"{params.train.method} training, {params.train.num_train_epochs} epochs"
    text = f"Trained in {len(chain)} rounds ({' -> '.join(['base', *chain])}; each {said})." if len(chain) > 1 else ""
    text = text or f"Trained in one round ({said})."
    if mixed:
        share = files.read_json(METRICS / "training" / f"{name}.json")["share"]
        text += f" {100 * share:g} % of its weights are of that model, the rest of the base model."
    return text


def _link(source: str, target: str) -> None:
    """A hard link to weights, so that they lie on disk once, where there can be one; a copy of what one may edit."""
    if source.endswith(".safetensors"):
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copy2(source, target)


if __name__ == "__main__":
    cli.run(main)
