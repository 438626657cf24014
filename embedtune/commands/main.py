"""The command line: `embedtune COMMAND …`, one module of this folder per command."""

from __future__ import annotations

import argparse
import importlib
import sys

from embedtune.core import cli

COMMANDS = {
    "check": "check params.yaml, and whether results are current, without running anything",
    "clean": "list checkpoints, logs and remains that no current parameters need; --yes removes them",
    "compare": "compare two runs question by question: git revisions, DVC experiments or the workspace",
    "encode": "embed the texts of a file with the released model",
    "gate": "say whether the last run may be shipped, by the rules of params.yaml",
    "merge": "merge a LoRA adapter into its base model",
    "profile": "apply profiles to params.yaml and keep your edits",
    "publish": "push the released model to a Hugging Face hub",
    "rank": "rank the documents for a question with the released system",
}


def main() -> None:
    """Run the command given on the command line; `embedtune COMMAND --help` lists its arguments."""
    parser = argparse.ArgumentParser(
        prog="embedtune",
        description="Fine-tune a text-embedding model for retrieval. `dvc repro` runs the pipeline; beside it:",
        epilog="\n".join(f"  {name:9} {what}" for name, what in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    given = parser.parse_args(sys.argv[1:2])
    command = importlib.import_module(f"embedtune.commands.{given.command}")
    cli.run(lambda: command.main(sys.argv[2:]))
