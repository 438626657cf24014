"""What a run chooses by the machine that it is on: chosen once, and taken over when the run resumes.

The choice is not part of the scratch folder's name (see run_folder.py): a timing or the free memory may come out
otherwise the next time, and a killed run should be found again all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from embedtune.compute import distributed
from embedtune.core import json_files

CHOICES = "choices.json"
Choice = TypeVar("Choice")


def chosen_once(run: Path, key: str, choose: Callable[[], Choice]) -> Choice:
    """The choice `key`, a value of JSON, from the scratch folder `run`; if it has none, that of `choose`, noted there.

    Every process of the group calls this and gets the main process's choice; all call `choose`, or none.
    """
    path = run / CHOICES
    noted = json_files.read_json(path) if distributed.is_main() and path.exists() else {}
    noted = distributed.broadcast_from_main(noted)
    if key in noted:
        known: Choice = noted[key]
        return known
    choice = distributed.broadcast_from_main(choose())
    if distributed.is_main():
        path.parent.mkdir(parents=True, exist_ok=True)
        json_files.write_json(path, noted | {key: choice})
    return choice
