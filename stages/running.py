"""What all stages share: error messages that name keys of params.yaml, a stage's argument, and its code files."""

import re
import sys
from collections.abc import Callable, Collection
from pathlib import Path

import yaml

from embedtune.compute.visible_devices import see_only
from embedtune.config import paths
from embedtune.config.places import in_words_of_params
from embedtune.config.reading import load_params
from embedtune.config.schema import Params
from embedtune.core import cli
from embedtune.core.errors import EmbedTuneError

AGAIN = "`dvc repro` starts this stage again (`train` from its last checkpoint, `encode` from what it last noted)"
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

    called = "@".join([Path(sys.argv[0]).stem, *(name.rpartition("@")[2] for name in sys.argv[1:])])
    cli.log_to(paths.stage_log(re.sub(r"[^\w@.-]", "_", called)))
    cli.run(main, explain, AGAIN)


def stage_params() -> Params:
    """The parameters of params.yaml; from here on the process sees the GPUs of compute.device alone."""
    params = load_params()
    see_only(params.compute.device)
    return params


def in_words(text: str, *sections: str) -> str:
    """The text with each parameter in backticks replaced by its key path, searched first in `sections`."""
    return in_words_of_params(EmbedTuneError(text), sections)


def name_given(known: Collection[str] = ()) -> str:
    """The name that the stage is called with: `base`, or `encode@base`, as DVC names the stage (DVC_STAGE).

    Raises EmbedTuneError if none or several are given, or one that is not in `known`, if any are.
    """
    command, names = f"python -m stages.{Path(sys.argv[0]).stem}", [name.rpartition("@")[2] for name in sys.argv[1:]]
    expected = f"one of {', '.join(known)}" if known else "a name, such as base"
    if len(names) != 1:
        raise EmbedTuneError(f"{command}: expected {expected}, got {' '.join(names) or 'nothing'}")
    if known and names[0] not in known:
        raise EmbedTuneError(f"{command}: expected {expected}, as {paths.PARAMS} defines them, got {names[0]}")
    return names[0]


def code_of(stage: str) -> list[Path]:
    """The code files that a stage depends on, by dvc.yaml; the hash that names its scratch folder includes them."""
    stages = yaml.safe_load(paths.DVC_YAML.read_text(encoding="utf-8"))["stages"]
    dependencies = stages[stage].get("do", stages[stage])["deps"]
    return [Path(dependency) for dependency in dependencies if dependency.endswith(".py")]
