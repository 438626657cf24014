"""compare: compare the systems on the evaluated split, with intervals and tests, and the rounds with each other."""

from embedtune.comparison.comparison import compare
from embedtune.comparison.rounds import rounds_table
from embedtune.comparison.significance import Resampling
from embedtune.config import paths
from embedtune.config.leftovers import leftovers, remove
from embedtune.core import cli, json_files
from embedtune.evaluation.per_query import read_scores
from embedtune.evaluation.results import PER_QUERY
from stages.running import run, stage_params


def main() -> None:
    """Write metrics/comparison.json and metrics/rounds.json, and remove what systems that are gone left in metrics/."""
    params = stage_params()
    for path in leftovers([*params.rounds, *params.mixtures, *params.fusions, *params.rerankers]):
        remove(path)
        cli.say(f"compare: removed {path}, which is of no system that {paths.PARAMS} has now; git has its last version")
    scores = {name: read_scores(paths.run(name) / PER_QUERY) for name in params.systems}
    resampling = Resampling(params.compare.confidence, params.compare.resamples, params.compare.seed)
    comparison = compare(scores, params.release.baseline, params.release.system, resampling, params.compare.measures)
    starts = {name: stage.start for name, stage in params.rounds.items()}
    rounds = rounds_table(starts, paths.MINED, paths.RUNS)
    json_files.write_json(paths.COMPARISON, comparison)
    json_files.write_json(paths.ROUNDS, rounds)
    cli.say(f"compare: wrote {paths.COMPARISON} ({', '.join(scores)})")


if __name__ == "__main__":
    run(main)
