"""slices: group the questions to evaluate by query length, document length and answer position."""

from embedtune.config import paths
from embedtune.core import cli, files
from embedtune.data.corpus import read_queries
from embedtune.evaluation.per_query import QUERY_ID, write_by_query
from embedtune.evaluation.slices import slices
from stages.running import run, stage_params


def main() -> None:
    """Write data/slices.csv."""
    params = stage_params()
    queries = read_queries(paths.QUERIES, paths.QRELS, params.evaluate.split)
    table = slices(queries, paths.CORPUS, params.lexical.tokenizer)
    with files.atomic_file(paths.SLICES) as partial:
        write_by_query(table.set_index(QUERY_ID), partial)
    cli.say(f"slices: wrote the groups of {len(queries)} {params.evaluate.split} questions to data/slices.csv")


if __name__ == "__main__":
    run(main, "evaluate", "lexical")
