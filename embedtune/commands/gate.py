"""Report whether the last run passes the release gate: the rules of params.yaml that the gains have to meet.

The exit code is 1 if a rule is not met, or if the results are out of date. The command needs no data, only git.
"""

from __future__ import annotations

import argparse

from embedtune.commands.freshness import check_fresh
from embedtune.comparison.gate import failures
from embedtune.comparison.words import caveat
from embedtune.config import paths
from embedtune.config.places import located_rules
from embedtune.config.reading import load_params
from embedtune.core import json_files
from embedtune.core.errors import EmbedTuneError


def main(arguments: list[str]) -> None:
    """Print that the gate is open; raise EmbedTuneError (exit code 1) if a rule is not met or the results are stale."""
    argparse.ArgumentParser(prog="embedtune gate", description="Say whether the last run may be shipped.").parse_args(
        arguments
    )
    params = load_params()
    if not paths.VERDICT.exists():
        raise EmbedTuneError(f"{paths.VERDICT}: no such file; run `dvc repro`")
    check_fresh("gate")
    verdict = json_files.read_json(paths.VERDICT)
    if not verdict["passed"]:
        reasons = [verdict["choice"], *located_rules(failures(verdict))]
        raise EmbedTuneError("the gate is shut:\n  " + "\n  ".join(reasons))
    print(verdict["choice"])
    if caveat(verdict["split"]):
        print(f"evaluate.split: {verdict['split']}: {caveat(verdict['split'])}")
    print(f"the gate is open: {len(params.gate)} of {len(params.gate)} rules are met")
