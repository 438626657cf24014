"""Merge a LoRA adapter into its base model."""

from __future__ import annotations

import argparse
from pathlib import Path

from embedtune.compute.device import DTYPES
from embedtune.core import cli, files
from embedtune.models.merge import merge


def main(arguments: list[str]) -> None:
    """Write the merged model, and report the largest difference between its embeddings and the adapter's."""
    parser = argparse.ArgumentParser(prog="embedtune merge", description="Merge a LoRA adapter into its base model.")
    parser.add_argument("base", type=Path, help="directory of the base model, such as models/base")
    parser.add_argument("adapter", type=Path, help="directory of the adapter, such as models/finetuned/adapter")
    parser.add_argument("target", type=Path, help="directory to write")
    parser.add_argument("--precision", choices=sorted(DTYPES), default="fp32", help="of the written weights")
    given = parser.parse_args(arguments)
    with files.atomic_directory(given.target) as partial:
        difference = merge(given.base, given.adapter, partial, given.precision)
    cli.say(f"merge: wrote {given.target}; its embeddings differ from the adapter's by {difference:.1e} at most")
