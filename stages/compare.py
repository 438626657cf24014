"""compare: set base and fine-tuned model side by side (`python -m stages.compare --show` prints the last table)."""

import sys
from pathlib import Path

from embedtune import cli, files
from embedtune.compare import compare, read_scores, table

COMPARISON = Path("metrics/comparison.json")
SHOWN = Path("logs/comparison.txt")  # git-ignored: `make repro` prints the table itself where this stage was skipped


def show() -> None:
    """Print metrics/comparison.json as a table and keep it in logs/."""
    text = table(files.read_json(COMPARISON), f"base and fine-tuned model ({COMPARISON})")
    print(text, flush=True)
    with files.whole_file(SHOWN) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Write metrics/comparison.json and print it."""
    if sys.argv[1:] != ["--show"]:
        runs = Path("data/runs")
        comparison = compare(read_scores(runs / "base.per_query.csv"), read_scores(runs / "finetuned.per_query.csv"))
        files.write_json(COMPARISON, comparison)
    show()


if __name__ == "__main__":
    cli.run(main)
