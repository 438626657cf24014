"""index: build a FAISS index of one model's passage vectors (`python -m stages.index finetuned`)."""

import sys
from pathlib import Path

from embedtune import cli, embeddings, files
from embedtune.config import load_params
from embedtune.indexes import build_index


def main() -> None:
    """Write data/indexes/<name>."""
    params = load_params()
    name = sys.argv[1]
    vectors = embeddings.open_vectors(Path("data/embeddings") / name, embeddings.PASSAGES)
    directory = Path("data/indexes") / name
    with files.whole_directory(directory) as target:
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
    cli.run(main)
