"""base_model: put the model to fine-tune into models/base, with its pooling, normalisation and instructions."""

import shutil
from pathlib import Path

from embedtune.compute.device import pick_device
from embedtune.config import paths
from embedtune.config.schema import Model
from embedtune.core import cli, files, json_files
from embedtune.core.errors import EmbedTuneError, ParameterError
from embedtune.data.hub.choosing import choose_model_files
from embedtune.data.hub.fetch import fetch_files
from embedtune.models.base_model import prepare_model
from embedtune.models.sample_model import write_sample_model
from embedtune.models.settings import Settings
from embedtune.models.trial import try_in_sentence_transformers
from stages.running import run, stage_params


def main() -> None:
    """Write models/base and metrics/sources/base.json."""
    params = stage_params()
    base = paths.BASE
    came_from = {"name": params.model.name}
    with files.atomic_directory(base) as target:
        scratch = target / "source"  # in the output, so that a kill leaves nothing that the next run does not remove
        scratch.mkdir()
        source = scratch
        if params.model.name == "sample":
            write_sample_model(source)
        elif params.model.name == "local":
            source = Path(params.model.path)
            came_from["path"] = params.model.path
            if not source.is_dir():
                raise ParameterError("path", f"{source} is not a directory")
        else:
            commit = fetch_files(params.model.name, "model", params.model.revision, choose_model_files, source)
            came_from |= {"revision": params.model.revision, "commit": commit}
            cli.say(f"base_model: {params.model.name} at commit {commit}")
        settings = prepare(params.model, source, target)
        shutil.rmtree(scratch)
        if params.model.name != "sample":
            try_in_sentence_transformers(target, pick_device(params.compute.device))
    json_files.write_json(paths.source("base"), came_from)
    cli.say(f"base_model: wrote {base} ({params.model.name}, {settings.pooling} pooling, {settings.max_tokens} tokens)")
    if lacks_instructions(params.model, settings):
        cli.say(
            "base_model: nothing is put before queries and passages, since the model's files name no instruction; if "
            'its card asks for some (E5: "query: " and "passage: "), write model.query_instruction and '
            "model.passage_instruction"
        )


def lacks_instructions(model: Model, settings: Settings) -> bool:
    """Whether a model of somebody's own has no instruction, neither by its files nor by params.yaml; "" is meant so."""
    written = (model.query_instruction, model.passage_instruction)
    used = (settings.query_instruction, settings.passage_instruction)
    return model.name != "sample" and written == (None, None) and used == ("", "")


def prepare(model: Model, source: Path, target: Path) -> Settings:
    """Write the model in `source` to `target`. Raises ParameterError, naming the model as params.yaml does."""
    try:
        return prepare_model(
            source,
            target,
            pooling=model.pooling,
            normalize=model.normalize,
            query_instruction=model.query_instruction,
            passage_instruction=model.passage_instruction,
        )
    except ParameterError:
        raise
    except EmbedTuneError as error:
        parameter, named = ("path", model.path) if model.name == "local" else ("name", model.name)
        raise ParameterError(parameter, str(error).replace(str(source), named, 1)) from error


if __name__ == "__main__":
    run(main, "model", "compute")
