"""reranker_base: put the cross-encoder that a reranker begins with in place (`python -m stages.reranker_base NAME`)."""

import shutil
from pathlib import Path

from embedtune.compute.device import pick_device
from embedtune.config import paths
from embedtune.config.systems import NONE, Reranker
from embedtune.core import cli, files, json_files
from embedtune.core.errors import EmbedTuneError, ParameterError
from embedtune.data.hub.choosing import choose_model_files
from embedtune.data.hub.fetch import fetch_files
from embedtune.models.cross_encoder import load_cross_encoder
from embedtune.models.new_head import set_activation, write_with_new_head
from embedtune.training.objectives.ranking import PROBABILITY
from stages.running import name_given, run, stage_params


def main() -> None:
    """Write models/reranker_bases/<reranker> and metrics/sources/<reranker>.json."""
    params = stage_params()
    name = name_given(params.rerankers)
    entry = params.rerankers[name]
    with files.atomic_directory(paths.reranker_base(name)) as target:
        if entry.start != NONE:
            write_with_new_head(paths.model(entry.start), target, params.train.seed)
            came_from = {"name": entry.start}
        else:
            came_from = fetch(entry, target)
        model = load(entry, target)
        if entry.objective != NONE:
            set_activation(target, probability=entry.objective == PROBABILITY)
    json_files.write_json(paths.source(name), came_from)
    cli.say(f"reranker_base: wrote {paths.reranker_base(name)} ({came_from['name']}; pairs of up to {model} tokens)")


def fetch(entry: Reranker, target: Path) -> dict[str, str]:
    """Put the files of `model` into the directory `target`; where they come from."""
    if entry.model != "local":
        commit = fetch_files(entry.model, "model", entry.revision, choose_model_files, target)
        return {"name": entry.model, "revision": entry.revision, "commit": commit}
    source = Path(entry.path)
    if not (source / "config.json").is_file():
        raise ParameterError("path", f"{source} holds no config.json")
    shutil.copytree(source, target, dirs_exist_ok=True)
    return {"name": "local", "path": entry.path}


def load(entry: Reranker, target: Path) -> int:
    """The tokens of the longest pair that the model reads. Raises ParameterError for what is no cross-encoder."""
    try:
        return load_cross_encoder(target, pick_device("cpu")).max_tokens
    except EmbedTuneError as error:
        if entry.start != NONE:
            raise
        parameter, named = ("path", entry.path) if entry.model == "local" else ("model", entry.model)
        raise ParameterError(parameter, str(error).replace(str(target), named, 1)) from error


if __name__ == "__main__":
    run(main, "rerankers", "compute")
