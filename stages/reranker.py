"""reranker: put the cross-encoder that chooses positive passages into models/reranker, if one does."""

import shutil
from pathlib import Path

from embedtune import cli, files
from embedtune.config import load_params
from embedtune.errors import EmbedTuneError
from embedtune.hub import choose_model_files, fetch_files


def main() -> None:
    """Write models/reranker; a note in its place where mine.positive_passage asks for none."""
    params = load_params()
    with files.whole_directory(Path("models/reranker")) as target:
        if params.mine.positive_passage != "reranker":
            note = "No reranker is needed: mine.positive_passage is not reranker."
            (target / "none.txt").write_text(note + "\n", encoding="utf-8")  # DVC restores no empty directory
            cli.say("reranker: none is needed (mine.positive_passage)")
        elif params.reranker.name == "local":
            source = Path(params.reranker.path)
            if not (source / "config.json").is_file():
                raise EmbedTuneError(f"params.yaml: reranker.path: {source} holds no config.json")
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            commit = fetch_files(params.reranker.name, "model", params.reranker.revision, choose_model_files, target)
            cli.say(f"reranker: {params.reranker.name} at commit {commit}")


if __name__ == "__main__":
    cli.run(main)
