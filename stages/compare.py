"""compare: set all systems side by side (`python -m stages.compare --show` prints the last table)."""

import sys
from pathlib import Path

from embedtune import cli, files
from embedtune.compare import compare, read_scores, table
from embedtune.config import load_params
from embedtune.rounds import rounds_table

COMPARISON = Path("metrics/comparison.json")
SHOWN = Path("logs/comparison.txt")  # git-ignored: `make repro` prints the table itself where this stage was skipped
BESIDE = ("bm25", "hybrid_ranks", "hybrid_scores")


def show() -> None:
    """Print metrics/comparison.json as a table and keep it in logs/."""
    text = table(files.read_json(COMPARISON), f"all systems ({COMPARISON})")
    print(text, flush=True)
    with files.whole_file(SHOWN) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Write metrics/comparison.json and metrics/rounds.json, and print the first."""
    if sys.argv[1:] != ["--show"]:
        params = load_params()
        runs = Path("data/runs")
        scores = {name: read_scores(runs / f"{name}.per_query.csv") for name in ("base", *params.rounds, *BESIDE)}
        files.write_json(COMPARISON, compare(scores, base="base", tuned=params.hybrid.model))
        files.write_json(Path("metrics/rounds.json"), rounds_table(params.rounds, Path("data/mined"), runs))
    show()


if __name__ == "__main__":
    cli.run(main)
