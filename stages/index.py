"""index: build a FAISS index of one model's passage embeddings (`python -m stages.index finetuned`)."""

from embedtune.config import paths
from embedtune.core import cli, files
from embedtune.models.vector_store import open_store
from embedtune.retrieval.indexes import build_index
from stages.running import name_given, run, stage_params


def main() -> None:
    """Write data/indexes/<name>."""
    params = stage_params()
    name = name_given()
    vectors = open_store(paths.embeddings(name)).passages
    directory = paths.index(name)
    with files.atomic_directory(directory) as target:
        meta = build_index(
            vectors,
            target,
            factory=params.index.factory,
            shard_rows=params.index.shard_rows,
            train_rows=params.index.train_rows,
            seed=params.index.seed,
        )
    cli.say(f"index: wrote {directory} ({meta['factory']}, {len(vectors)} passages)")


if __name__ == "__main__":
    run(main, "index")
