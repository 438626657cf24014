"""The result files of systems that params.yaml no longer has, such as a round that was renamed.

They stay in git beside the current ones, and would be taken for current: by people, and by `dvc plots show`.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from embedtune.config import paths
from embedtune.config.systems import BASE, BM25, DATASET, NONE

BY_CUTOFF = "by_cutoff.csv"  # of every system; named in evaluation/results.py, which this room may not import


def leftovers(defined: Collection[str]) -> list[Path]:
    """The files and directories in metrics/ of systems other than base, bm25 and those `defined`; sorted.

    A system is known by what the stages write of each: a directory of plots, or a file about a training or mining. So
    what a person keeps in metrics/ is not listed.
    """
    of_one = (
        *(paths.mining_metrics, paths.mining_plot, paths.training_metrics, paths.training_plot, paths.mixing_plot),
        paths.teaching,
    )
    names = {file.parent.name for file in paths.PLOTS.glob(f"*/{BY_CUTOFF}")}
    for place in of_one:
        names |= {file.stem for file in place("x").parent.glob(f"*{place('x').suffix}")}
    gone = names - {BASE, BM25, NONE, DATASET, *defined}
    found = {place(name) for place in (*of_one, paths.metrics, paths.plots) for name in gone}
    return sorted(path for path in found if path.exists())


def remove(path: Path) -> None:
    """Remove a file or a directory."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
