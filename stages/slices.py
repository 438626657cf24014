"""slices: sort the questions to evaluate into groups by length and by where their answers stand."""

from pathlib import Path

from embedtune import cli, files
from embedtune.config import load_params
from embedtune.corpus import read_queries
from embedtune.slices import slices


def main() -> None:
    """Write data/slices.csv."""
    params = load_params()
    queries = read_queries(Path("data/queries"), Path("data/qrels"), params.evaluate.split)
    table = slices(queries, Path("data/corpus.jsonl"))
    with files.whole_file(Path("data/slices.csv")) as partial:
        table.to_csv(partial, index=False)
    cli.say(f"slices: wrote the groups of {len(queries)} {params.evaluate.split} questions to data/slices.csv")


if __name__ == "__main__":
    cli.run(main)
