"""base_model: put the model to tune into models/base, with its pooling, normalisation and instructions."""

import tempfile
from pathlib import Path

from embedtune import cli, files
from embedtune.base_model import prepare_model
from embedtune.config import load_params
from embedtune.errors import EmbedTuneError
from embedtune.hub import choose_model_files, fetch_files
from embedtune.sample.model import write_sample_model


def main() -> None:
    """Write models/base."""
    params = load_params()
    base = Path("models/base")
    with files.whole_directory(base) as target, tempfile.TemporaryDirectory(dir=base.parent) as scratch:
        source = Path(scratch)
        if params.model.name == "sample":
            write_sample_model(source)
        elif params.model.name == "local":
            source = Path(params.model.path)
            if not source.is_dir():
                raise EmbedTuneError(f"params.yaml: model.path: {source} is not a directory")
        else:
            commit = fetch_files(params.model.name, "model", params.model.revision, choose_model_files, source)
            cli.say(f"base_model: {params.model.name} at commit {commit}")
        settings = prepare_model(
            source,
            target,
            pooling=params.model.pooling,
            normalize=params.model.normalize,
            query_instruction=params.model.query_instruction,
            passage_instruction=params.model.passage_instruction,
        )
    cli.say(f"base_model: wrote {base} ({params.model.name}, {settings.pooling} pooling, {settings.max_tokens} tokens)")


if __name__ == "__main__":
    cli.run(main)
