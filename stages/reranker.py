"""reranker: put the cross-encoder that chooses positive passages into models/reranker, if params.yaml asks for one."""

import shutil
from pathlib import Path

from embedtune.config import paths
from embedtune.core import cli, files, json_files
from embedtune.core.errors import ParameterError
from embedtune.data.hub.choosing import choose_model_files
from embedtune.data.hub.fetch import fetch_files
from stages.running import run, stage_params


def main() -> None:
    """Write models/reranker and metrics/sources/reranker.json.

    The directory holds only a note if mine.positive_passage is not reranker.
    """
    params = stage_params()
    came_from = {"name": "none"}
    with files.atomic_directory(paths.RERANKER) as target:
        if params.mine.positive_passage != "reranker":
            note = "No reranker is needed: mine.positive_passage is not reranker."
            (target / "none.txt").write_text(note + "\n", encoding="utf-8")  # DVC does not restore empty directories
            cli.say("reranker: none is needed (mine.positive_passage)")
        elif params.reranker.name == "local":
            source = Path(params.reranker.path)
            came_from = {"name": "local", "path": params.reranker.path}
            if not (source / "config.json").is_file():
                raise ParameterError("path", f"{source} holds no config.json")
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            commit = fetch_files(params.reranker.name, "model", params.reranker.revision, choose_model_files, target)
            came_from = {"name": params.reranker.name, "revision": params.reranker.revision, "commit": commit}
            cli.say(f"reranker: {params.reranker.name} at commit {commit}")
    json_files.write_json(paths.source("reranker"), came_from)


if __name__ == "__main__":
    run(main, "reranker")
