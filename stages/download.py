"""download: put the data set into data/raw in its publisher's layout (generated, downloaded or copied)."""

from pathlib import Path

from embedtune.config import paths
from embedtune.core import cli, files, json_files
from embedtune.data.hub.choosing import choose_mldr_files
from embedtune.data.hub.fetch import fetch_files
from embedtune.data.local import copy_local
from embedtune.data.sample.corpus import write_sample
from embedtune.data.sample.scored import write_scored_sample
from stages.running import run, stage_params


def main() -> None:
    """Write data/raw and metrics/sources/data.json."""
    params = stage_params()
    raw = paths.RAW
    came_from: dict[str, str] = {"source": params.dataset.source}
    with files.atomic_directory(raw) as target:
        if params.dataset.source == "sample":
            size = params.dataset.sample
            queries = {"train": size.train_queries, "dev": size.dev_queries, "test": size.test_queries}
            if params.dataset.format == "scored":
                write_scored_sample(target, size.rows, params.dataset.seed)
            else:
                write_sample(target, size.documents, queries, params.dataset.seed)
        elif params.dataset.source == "mldr":
            choose = choose_mldr_files(params.dataset.language)
            repository, revision = params.dataset.repository, params.dataset.revision
            commit = fetch_files(repository, "dataset", revision, choose, target)
            came_from |= {"repository": repository, "revision": revision, "commit": commit}
            cli.say(f"download: {repository} at commit {commit}")
        else:
            copy_local(Path(params.dataset.path), target)
            came_from["path"] = params.dataset.path
    json_files.write_json(paths.source("data"), came_from)
    cli.say(f"download: wrote {raw} ({params.dataset.source})")


if __name__ == "__main__":
    run(main, "dataset")
