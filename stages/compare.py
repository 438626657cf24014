"""compare: compare all systems (`python -m stages.compare --show` only prints the last table)."""

import sys

from embedtune.comparison.comparison import compare, table
from embedtune.comparison.gate import Rule, failures, judge
from embedtune.comparison.rounds import rounds_table
from embedtune.comparison.significance import Resampling
from embedtune.config import paths
from embedtune.config.places import located_rules
from embedtune.config.reading import load_params
from embedtune.config.schema import BESIDE, Params
from embedtune.core import files, json_files
from embedtune.evaluation.per_query import read_scores, read_slices
from embedtune.evaluation.results import PER_QUERY
from stages.running import run


def main() -> None:
    """Write metrics/comparison.json, gate.json and rounds.json (not with --show), and print the first two."""
    params = load_params()
    if sys.argv[1:] != ["--show"]:
        write_comparison(params)
    show(params)


def write_comparison(params: Params) -> None:
    """Write all three files, from the systems' per-question scores, mined rows and runs."""
    tuned = params.hybrid.model
    names = ("base", *params.rounds, *params.mix, *BESIDE)
    scores = {name: read_scores(paths.run(name) / PER_QUERY) for name in names}
    resampling = Resampling(params.compare.confidence, params.compare.resamples, params.compare.seed)
    rules = {name: Rule(rule.min_gain, rule.confidence) for name, rule in params.gate.items()}
    comparison = compare(scores, "base", tuned, resampling, params.compare.measures)
    found = judge(rules, tuned, scores["base"], scores[tuned], read_slices(paths.SLICES), resampling)
    rounds = rounds_table(params.rounds, paths.MINED, paths.RUNS)
    json_files.write_json(paths.COMPARISON, comparison)
    json_files.write_json(paths.VERDICT, found)
    json_files.write_json(paths.ROUNDS, rounds)


def show(params: Params) -> None:
    """Print the comparison as a table with the gate's verdict, and save both in logs/ for `make repro`."""
    title = f"all systems ({paths.COMPARISON})"
    text = table(json_files.read_json(paths.COMPARISON), "base", params.hybrid.model, title)
    found = json_files.read_json(paths.VERDICT)
    stopped = located_rules(failures(found))
    if found["rules"]:
        text += f"\ngate: {'shut' if stopped else 'open'} ({paths.VERDICT})" + "".join(
            f"\n  {line}" for line in stopped
        )
    print(text, flush=True)
    with files.atomic_file(paths.COMPARISON_TABLE) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
