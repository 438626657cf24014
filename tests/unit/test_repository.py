"""Places that DVC or git read otherwise: a folder of a repository, no repository, another owner, a broken lock."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo

from embedtune.commands import freshness, revisions
from embedtune.commands.repository import check_repository, locked_stages, project_in_git
from embedtune.comparison.report.provenance import revision
from embedtune.config import paths
from embedtune.core.errors import EmbedTuneError

ROOT = Path(__file__).parents[2]
LOCK = "schema: '2.0'\nstages:\n  convert:\n    outs:\n    - {path: data/corpus.jsonl, md5: abc}\n"
OWN = {"GIT_CEILING_DIRECTORIES": "/", "GIT_CONFIG_GLOBAL": os.devnull}


def git(*arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in the folder `my work` of a git repository, with params.yaml and dvc.lock committed."""
    root = tmp_path / "my work"
    root.mkdir()
    monkeypatch.chdir(root)
    for name, value in OWN.items():
        monkeypatch.setenv(name, value)
    git("init", "--quiet", str(tmp_path))
    Repo.init(str(root), subdir=True).close()
    shutil.copy(ROOT / "params.yaml", root)
    paths.DVC_LOCK.write_text(LOCK)
    git("add", "--all")
    git("commit", "--quiet", "-m", "start")
    return root


def test_a_project_in_a_folder_of_a_repository_is_read_as_of_a_revision(project: Path) -> None:
    assert project_in_git() == Path("my work")
    assert revisions.text_at("HEAD", paths.PARAMS) == paths.PARAMS.read_text(encoding="utf-8")
    assert revisions.what_was_run("HEAD") == ("finetuned", "test")
    with pytest.raises(EmbedTuneError, match="nowhere: no such git revision or DVC experiment"):
        revisions.text_at("nowhere", paths.PARAMS)
    with pytest.raises(EmbedTuneError, match=r"^data/x.csv cannot be read as of HEAD \(.*git checkout HEAD"):
        revisions.text_at("HEAD", Path("data/x.csv"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ImportError("s3 is supported, but requires 'dvc-s3' to be installed"), "requires 'dvc-s3' to be installed"),
        (ConnectionError("no\nroute"), "cannot be read as of HEAD (no route). Results are in DVC's cache, not in git"),
        (KeyError(), "cannot be read as of HEAD (KeyError). Results are in"),
    ],
)
def test_whatever_a_remotes_client_raises_is_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def failing(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("dvc.api.open", failing)
    with pytest.raises(EmbedTuneError) as caught:
        revisions.text_at("HEAD", Path("data/runs/base/per_query.csv"))
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "what"), [("", "empty"), (" \n", "empty"), (LOCK[:20], "broken"), ("a: [", "broken")])
def test_a_lock_that_a_killed_dvc_left_is_named_with_what_to_do(project: Path, text: str, what: str) -> None:
    check_repository()
    paths.DVC_YAML.write_text("stages: {}\n")
    paths.DVC_LOCK.write_text(text)
    for asked in (check_repository, lambda: freshness.check_fresh("gate"), lambda: revisions.corpus_hash("workspace")):
        with pytest.raises(EmbedTuneError, match=rf"is {what}, .* `git checkout HEAD -- dvc.lock`, then `dvc repro`"):
            asked()
    assert locked_stages(LOCK, "dvc.lock").keys() == {"convert"}


def test_the_corpus_of_the_workspace_is_the_file_and_that_of_a_revision_its_lock(project: Path) -> None:
    assert (revisions.corpus_hash("HEAD"), revisions.corpus_hash("workspace")) == ("abc", "abc")
    paths.CORPUS.parent.mkdir()
    paths.CORPUS.write_bytes(b"hello")
    assert revisions.corpus_hash("workspace") == "5d41402abc4b2a76b9719d911017c592", "MD5 of hello"


def test_what_a_removed_system_left_in_data_is_not_the_workspaces(project: Path) -> None:
    for name in ("legal", "finetuned"):
        (paths.run(name)).mkdir(parents=True)
        (paths.run(name) / "per_query.csv").write_text("query_id,ndcg@10\nq,0.5\n")
    assert len(revisions.scores_at("workspace", "finetuned")) == 1
    with pytest.raises(EmbedTuneError, match=r"legal: no system of params.yaml as it is now \(base, finetuned, bm25, "):
        revisions.scores_at("workspace", "legal")


def test_without_a_repository_it_is_said_what_dvc_asks_for(project: Path) -> None:
    shutil.rmtree(project.parent / ".git")
    paths.DVC_YAML.write_text("stages: {}\n")
    for asked in (project_in_git, check_repository, lambda: revisions.text_at("HEAD", paths.PARAMS)):
        with pytest.raises(EmbedTuneError, match=r"is not in a git repository, .* `git init && git add"):
            asked()
    assert revision() == "not in git"
    Path(".dvc/config").write_text("[core]\n    no_scm = true\n")
    check_repository()
    assert project_in_git.__doc__


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_of_another_owners_folder_gits_own_advice_is_given(project: Path) -> None:
    for place in (project.parent, *project.parent.rglob("*")):
        os.chown(place, 65534, 65534)
    with pytest.raises(EmbedTuneError, match=r"belongs to another user.*git config --global --add safe.directory /"):
        revisions.text_at("HEAD", paths.PARAMS)
    check_repository()  # DVC runs there
    assert revision().startswith("not known: the folder belongs to another user; `git config --global --add safe.dir")


def test_without_git_the_report_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert revision() == "not known: git is not installed"


def test_make_setup_works_in_a_folder_with_a_space(tmp_path: Path) -> None:
    """With a Python that makes an environment of stubs, which note how they are called."""
    root = tmp_path / "my project"
    (root / "requirements").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", root)
    (root / "pyproject.toml").touch()
    python = tmp_path / "python"
    python.write_text(
        '#!/bin/bash\n[ "$1" = -c ] && exit 0\nif [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin"; '
        f'cp "$0" "$3/bin/python"; exit; fi\necho "$@" >> "{root}/called"\n'
    )
    python.chmod(0o755)
    done = subprocess.run(["make", "setup", f"PYTHON={python}"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    called = (root / "called").read_text().splitlines()
    assert [line.split()[:3] for line in called] == [["-m", "pip", "install"]] * 2
