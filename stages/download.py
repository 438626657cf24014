"""download: put the data set into data/raw as its publisher lays it out (generated, fetched, or copied)."""

import shutil
from pathlib import Path

from embedtune import cli, files
from embedtune.config import load_params
from embedtune.errors import EmbedTuneError
from embedtune.hub import choose_mldr_files, fetch_files
from embedtune.sample.corpus import write_sample


def copy_local(source: Path, target: Path) -> None:
    """Copy a file, or a directory's files but hidden ones, into `target`."""
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
    elif source.is_file():
        shutil.copyfile(source, target / source.name)
    else:
        raise EmbedTuneError(f"params.yaml: dataset.path: {source} does not exist; give a directory or a file")


def main() -> None:
    """Write data/raw."""
    params = load_params()
    raw = Path("data/raw")
    with files.whole_directory(raw) as target:
        if params.dataset.source == "sample":
            size = params.dataset.sample
            queries = {"train": size.train_queries, "dev": size.dev_queries, "test": size.test_queries}
            write_sample(target, size.documents, queries, params.dataset.seed)
        elif params.dataset.source == "mldr":
            choose = choose_mldr_files(params.dataset.language)
            commit = fetch_files(params.dataset.repository, "dataset", params.dataset.revision, choose, target)
            cli.say(f"download: {params.dataset.repository} at commit {commit}")
        else:
            copy_local(Path(params.dataset.path), target)
    cli.say(f"download: wrote {raw} ({params.dataset.source})")


if __name__ == "__main__":
    cli.run(main)
