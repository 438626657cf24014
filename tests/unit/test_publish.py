"""Pushing the released model to a hub on the loopback interface."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from embedtune.config.reading import load_params
from embedtune.core import json_files
from tests.loopback_hub import LoopbackHub, serve_hub

ROOT = Path(__file__).parents[2]
COMMIT = "4" * 40
CARD = '---\nlibrary_name: sentence-transformers\n---\n# A model\nSentenceTransformer("models/release")\n'
FILES = {"model.safetensors": bytes(range(256)) * 64, "1_Pooling/config.json": b"{}"}
ME = ("model", "me/tuned")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with a released model that the gate let pass."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for name, content in {**FILES, "README.md": CARD.encode()}.items():
        path = tmp_path / "models" / "release" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    json_files.write_json(tmp_path / "models" / "release" / "gate.json", verdict(passed=True))
    return tmp_path


def verdict(passed: bool) -> dict[str, Any]:
    params = load_params(ROOT / "params.yaml")
    return {
        "passed": passed,
        "system": params.release.system,
        "baseline": params.release.baseline,
        "rules": {name: rule.model_dump() for name, rule in params.gate.items()},
    }


def publish(
    project: Path, hub: LoopbackHub, *arguments: str, token: str | None = "t"
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    environment |= {"HF_HOME": str(project / "home"), "PYTHONPATH": str(ROOT), **({"HF_TOKEN": token} if token else {})}
    command = [sys.executable, "-m", "embedtune", "publish", *arguments]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)


def test_the_release_is_pushed_as_one_commit_under_its_own_name(project: Path) -> None:
    with serve_hub({}, COMMIT, token="t") as hub:
        done = publish(project, hub, "me/tuned", "--private", "--message", "A first model")
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == f"{hub.url}/me/tuned"
        pushed = dict(hub.repositories[ME])
        assert pushed.pop("README.md").decode() == CARD.replace("models/release", "me/tuned")
        assert json_files.read_json(project / "models" / "release" / "gate.json")["passed"]
        assert pushed.keys() - FILES.keys() == {"gate.json"}
        assert {name: pushed[name] for name in FILES} == FILES
        assert (hub.visibility, hub.commits) == ({"me/tuned": "private"}, ["A first model"])


def test_a_second_push_leaves_nothing_of_the_first(project: Path) -> None:
    """An adapter or a shard of an earlier upload would be loaded with the new weights."""
    old = {"adapter_config.json": b"{}", "old/model-00001.safetensors": b"x", ".gitattributes": b"*.bin lfs"}
    with serve_hub({ME: dict(old)}, COMMIT) as hub:
        assert publish(project, hub, "me/tuned").returncode == 0
        assert hub.repositories[ME].keys() == {*FILES, "README.md", "gate.json", ".gitattributes"}
        assert len(hub.commits) == 1


def test_a_repository_is_public_only_where_its_owner_has_it_so(project: Path) -> None:
    with serve_hub({("model", "me/public"): {}}, COMMIT) as hub:
        assert publish(project, hub, "me/tuned").returncode == 0
        assert hub.visibility == {"me/tuned": None}, "the owner's default"
        done = publish(project, hub, "me/public", "--private")
        assert (done.returncode, hub.repositories[("model", "me/public")]) == (1, {})
        assert "error: me/public exists and is public; make it private on the hub" in done.stderr


def test_a_hub_that_refuses_is_named(project: Path) -> None:
    with serve_hub({}, COMMIT, token="another") as hub:
        for token in ("t", None):
            done = publish(project, hub, "me/tuned", token=token)
            assert done.returncode == 1
            assert f"error: {hub.url}/me/tuned: the hub answered 401; set HF_TOKEN to a token that may" in done.stderr
            assert "Traceback" not in done.stderr
    with serve_hub({}, COMMIT) as hub:
        assert "expected NAME/REPOSITORY" in publish(project, hub, "no/such/name").stderr
    done = publish(project, hub, "me/tuned")
    assert f"error: {hub.url} cannot be reached" in done.stderr


def test_a_card_that_is_refused_is_not_pushed_and_no_repository_made(project: Path) -> None:
    (project / "models" / "release" / "README.md").write_text("---\nmodel-index:\n- results: 1\n---\n")
    with serve_hub({}, COMMIT) as hub:
        done = publish(project, hub, "me/tuned")
        assert (done.returncode, hub.commits, hub.repositories) == (1, [], {})
        assert "error: models/release/README.md: the hub refuses it: " in done.stderr and "model_index" in done.stderr


def test_what_the_gate_stops_is_not_pushed(project: Path) -> None:
    json_files.write_json(project / "models" / "release" / "gate.json", verdict(passed=False))
    with serve_hub({}, COMMIT) as hub:
        done = publish(project, hub, "me/tuned")
        assert (done.returncode, hub.repositories) == (1, {})
        assert "the gate is shut (`make gate` says why)" in done.stderr
        assert publish(project, hub, "me/tuned", "--although-the-gate-is-shut").returncode == 0
        assert FILES.keys() < hub.repositories[ME].keys()


def test_a_gate_made_stricter_since_is_asked_again(project: Path) -> None:
    text = (project / "params.yaml").read_text(encoding="utf-8")
    (project / "params.yaml").write_text(text.replace("min_gain: 0.01", "min_gain: 0.02"), encoding="utf-8")
    with serve_hub({}, COMMIT) as hub:
        done = publish(project, hub, "me/tuned")
        assert (done.returncode, hub.repositories) == (1, {})
        assert "judged other systems, or by other rules, than params.yaml now names; run `dvc repro`" in done.stderr


def test_without_a_release_there_is_nothing_to_push(project: Path) -> None:
    (project / "models" / "release" / "README.md").unlink()
    with serve_hub({}, COMMIT) as hub:
        assert "models/release: holds no released model; run `dvc repro`" in publish(project, hub, "me/tuned").stderr
