"""The git repository and the dvc.lock of a project: whether DVC can read them, and what to do where it cannot."""

from __future__ import annotations

import configparser
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from embedtune.config import paths
from embedtune.core.errors import EmbedTuneError

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is there


def project_in_git() -> Path:
    """The project's folder within its git repository; Path(".") where it is the repository's root.

    Raises EmbedTuneError if there is no repository, if it belongs to another user, or if git is not installed.
    """
    command, environment = ["git", "rev-parse", "--show-prefix"], {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    except FileNotFoundError as error:
        raise EmbedTuneError("git is not installed, and revisions are git's; install it") from error
    if done.returncode == 0:
        return Path(done.stdout.removesuffix("\n") or ".")
    if "dubious ownership" in done.stderr:
        raise EmbedTuneError(
            f"{Path.cwd()} belongs to another user, so git does not read it; if you trust it: "
            f"git config --global --add safe.directory {Path.cwd()}"
        )
    raise EmbedTuneError(
        f"{Path.cwd()} is not in a git repository, which DVC asks for; make it one by `git init && git add --all && "
        "git commit -m start`, or write `dvc config core.no_scm true` (then there are no revisions to compare)"
    )


def check_repository() -> None:
    """Raise EmbedTuneError if DVC would find no git repository (unless it is told to do without) or a broken lock."""
    if paths.DVC_YAML.exists() and not _without_git():
        try:
            project_in_git()
        except EmbedTuneError as error:
            if "not in a git repository" in str(error):
                raise
    if paths.DVC_LOCK.exists():
        locked_stages(paths.DVC_LOCK.read_text(encoding="utf-8"), str(paths.DVC_LOCK))


def locked_stages(text: str, where: str) -> dict[str, Any]:
    """The stages of a dvc.lock. Raises EmbedTuneError if it is empty or cut off, as a killed `dvc` leaves it."""
    try:
        content = yaml.load(text, LOADER)
    except yaml.YAMLError:
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("stages"), dict):
        raise EmbedTuneError(
            f"{where}: is {'broken' if text.strip() else 'empty'}, as a `dvc` that is killed leaves it; write "
            f"`git checkout HEAD -- {paths.DVC_LOCK}`, then `dvc repro`: what was finished is taken from DVC's cache"
        )
    stages: dict[str, Any] = content["stages"]
    return stages


def _without_git() -> bool:
    """Whether DVC is told that there is no git (`dvc config core.no_scm true`)."""
    settings = configparser.ConfigParser(strict=False)
    settings.read([Path(".dvc/config"), Path(".dvc/config.local")], encoding="utf-8")
    return settings.getboolean("core", "no_scm", fallback=False)
