"""Apply profiles to params.yaml, and keep the values that were edited there.

embedtune profile                   which profiles are applied, and what was edited
embedtune profile mldr-zh lora      the defaults, with the values of both
embedtune profile --none            the defaults alone
"""

from __future__ import annotations

import argparse

from embedtune.config import paths
from embedtune.config.profiles import applied_profiles, apply_profiles, edits_of, known_profiles
from embedtune.core import cli, files
from embedtune.core.errors import EmbedTuneError


def main(arguments: list[str]) -> None:
    """Write params.yaml, or say what it is made of."""
    parser = argparse.ArgumentParser(
        prog="embedtune profile",
        description="Apply profiles to params.yaml, and keep your edits; without a name, say what is applied.",
        epilog=f"profiles: {', '.join(known_profiles(paths.PROFILES))}",
    )
    parser.add_argument("names", nargs="*", metavar="PROFILE", help="in this order; a later one wins")
    parser.add_argument("--none", action="store_true", help="the shipped defaults alone, beside your edits")
    given = parser.parse_args(arguments)
    if given.none and given.names:
        raise EmbedTuneError("give profiles, or --none")
    text = paths.PARAMS.read_text(encoding="utf-8")
    if given.names or given.none:
        if edits_of(text, paths.PROFILES, paths.PARAMS):  # their comments and layout are not kept
            paths.PARAMS.with_suffix(".yaml.bak").write_text(text, encoding="utf-8")
        text = apply_profiles(text, given.names, paths.PROFILES, paths.PARAMS)
        with files.atomic_file(paths.PARAMS) as partial:
            partial.write_text(text, encoding="utf-8")
    cli.show(f"profiles: {' '.join(applied_profiles(text)) or 'none'}")
    for key, value in edits_of(text, paths.PROFILES, paths.PARAMS).items():
        cli.show(f"edited: {'.'.join(key)}: {value!r}")
