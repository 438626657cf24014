"""What all stages share: error messages that name keys of params.yaml, and the list of a stage's code files."""

import sys
from collections.abc import Callable
from pathlib import Path

import yaml

from embedtune.config import paths
from embedtune.config.places import in_words_of_params
from embedtune.core import cli
from embedtune.core.errors import EmbedTuneError

AGAIN = "`dvc repro` starts this stage again (`train` from its last checkpoint, `encode` from its last finished shard)"
IN_WORDS_OF_DVC = {
    "run it again": "run `dvc repro` again",
    "make it first": "run `dvc repro` to make it",
    "the next run goes on": "`dvc repro` goes on",
}


def run(main: Callable[[], None], *sections: str) -> None:
    """Call a stage's `main`. Its errors name a parameter's key path, searched first in `sections` of params.yaml."""

    def explain(error: EmbedTuneError) -> str:
        text = in_words_of_params(error, sections)
        for words, in_words_of_dvc in IN_WORDS_OF_DVC.items():
            text = text.replace(words, in_words_of_dvc)
        return text

    cli.run(main, explain, AGAIN)


def named() -> str:
    """The round, mixture or fusion that a stage is to work on, its first argument: `finetuned`, or `encode@finetuned`.

    The latter is how DVC names the stage (DVC_STAGE). Raises EmbedTuneError without an argument.
    """
    if len(sys.argv) < 2:
        raise EmbedTuneError("which model? write its name, base or one of rounds, mixtures or fusions, as an argument")
    return sys.argv[1].rpartition("@")[2]


def code_of(stage: str) -> list[Path]:
    """The code files that a stage depends on, by dvc.yaml; the hash that names its scratch folder includes them."""
    stages = yaml.safe_load(paths.DVC_YAML.read_text(encoding="utf-8"))["stages"]
    dependencies = stages[stage].get("do", stages[stage])["deps"]
    return [Path(dependency) for dependency in dependencies if dependency.endswith(".py")]
