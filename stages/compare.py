"""compare: set all systems side by side (`python -m stages.compare --show` prints the last table)."""

import sys
from pathlib import Path

from embedtune import cli, files
from embedtune.comparison import compare, table
from embedtune.config import BESIDE, Params, load_params
from embedtune.gate import VERDICT, failures, verdict
from embedtune.per_query import read_scores, read_slices
from embedtune.rounds import rounds_table
from embedtune.significance import Resampling

COMPARISON = Path("metrics/comparison.json")
SHOWN = Path("logs/comparison.txt")  # git-ignored: `make repro` prints the table itself where this stage was skipped


def show(params: Params) -> None:
    """Print metrics/comparison.json as a table with the gate's verdict, and keep both in logs/."""
    text = table(files.read_json(COMPARISON), "base", params.hybrid.model, f"all systems ({COMPARISON})")
    found = files.read_json(VERDICT)
    stopped = failures(found)
    if found["rules"]:
        text += f"\ngate: {'open' if not stopped else 'shut'} ({VERDICT})" + "".join(f"\n  {line}" for line in stopped)
    print(text, flush=True)
    with files.whole_file(SHOWN) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Write metrics/comparison.json, gate.json and rounds.json, and print the first two."""
    params = load_params()
    if sys.argv[1:] != ["--show"]:
        runs, tuned = Path("data/runs"), params.hybrid.model
        names = ("base", *params.rounds, *params.mix, *BESIDE)
        scores = {name: read_scores(runs / f"{name}.per_query.csv") for name in names}
        resampling = Resampling(params.compare.confidence, params.compare.resamples, params.compare.seed)
        groups = read_slices(Path("data/slices.csv"))
        comparison = compare(scores, "base", tuned, resampling, params.compare.measures)
        found = verdict(params.gate, tuned, scores["base"], scores[tuned], groups, resampling)
        rounds = rounds_table(params.rounds, Path("data/mined"), runs)
        files.write_json(COMPARISON, comparison)
        files.write_json(VERDICT, found)
        files.write_json(Path("metrics/rounds.json"), rounds)
    show(params)


if __name__ == "__main__":
    cli.run(main)
