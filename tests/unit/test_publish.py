"""Pushing the released model to a hub on the loopback interface."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from embedtune.commands import publish as publishing
from embedtune.comparison.release import file_hashes
from embedtune.config.reading import load_params
from embedtune.core import json_files
from embedtune.core.errors import EmbedTuneError
from embedtune.retrieval.system import SYSTEM
from tests.loopback_hub import LoopbackHub, serve_hub

ROOT = Path(__file__).parents[2]
COMMIT = "4" * 40
CARD = '---\nlibrary_name: sentence-transformers\n---\n# A model\nSentenceTransformer("models/release")\n'
FILES = {"model.safetensors": bytes(range(256)) * 64, "1_Pooling/config.json": b"{}"}
FILES |= {"system.json": b"{}", "calibration.json": b"{}"}
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
    released(tmp_path)
    return tmp_path


def released(project: Path) -> None:
    """What lies in models/release is what the stage `release` wrote."""
    hashes = file_hashes(project / "models" / "release")
    json_files.write_json(project / "metrics" / "release.json", {"system": "finetuned", "files": hashes})


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


def test_the_card_of_a_reranked_release_loads_its_cross_encoder_from_the_repository(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of a repository is no hub id, so that it is fetched first."""
    example = (
        'from sentence_transformers import CrossEncoder\n\nCrossEncoder("models/release/reranker", max_length=9)\n'
    )
    (project / "models" / "release" / "README.md").write_text(CARD + example, encoding="utf-8")
    released(project)
    monkeypatch.chdir(project)
    card = publishing.released_files("me/tuned")["README.md"]
    assert isinstance(card, bytes)
    assert card.decode().endswith(
        "from huggingface_hub import snapshot_download\nfrom sentence_transformers import CrossEncoder\n\n"
        'CrossEncoder(snapshot_download("me/tuned") + "/reranker", max_length=9)\n'
    )


def test_a_second_push_leaves_nothing_of_the_first(project: Path) -> None:
    """An adapter or a shard of an earlier upload would be loaded with the new weights."""
    old = {"adapter_config.json": b"{}", "old/model-00001.safetensors": b"x", ".gitattributes": b"*.bin lfs"}
    old |= {"system.json": b"{}", "calibration.json": b"{}", "gate.json": b"{}"}
    with serve_hub({ME: dict(old)}, COMMIT) as hub:
        done = publish(project, hub, "me/tuned")
        assert done.returncode == 0
        assert SYSTEM in publishing.OF_A_RELEASE
        assert "deleted from me/tuned: 'adapter_config.json', 'old/model-00001.safetensors'" in done.stderr
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
    released(project)
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


def test_strangers_files_are_not_sent(project: Path, tmp_path: Path) -> None:
    release, secret = project / "models" / "release", tmp_path / "secret"
    secret.write_text("the secret")
    (release / ".env").write_text("KEY=the secret")
    (release / "id_rsa").write_text("the secret")
    (release / "1_Pooling" / "notes.json").write_text('"the secret"')
    (release / "link.json").symlink_to(secret)
    (release / "folder").symlink_to(tmp_path)
    with serve_hub({}, COMMIT) as hub:
        done = publish(project, hub, "me/tuned")
        assert done.returncode == 0, done.stderr
        assert hub.repositories[ME].keys() == {*FILES, "README.md", "gate.json"}
        assert not any(b"secret" in sent for sent in [*hub.repositories[ME].values(), *hub.uploaded.values()])
        strangers = "'.env', '1_Pooling/notes.json', 'id_rsa', 'link.json'"
        assert f"publish: not part of the release, and not sent: {strangers}\n" in done.stderr


def test_links_into_the_cache_are_sent_as_the_files_that_they_are(project: Path, tmp_path: Path) -> None:
    """DVC links every file of an output where cache.type is symlink."""
    release, cache = project / "models" / "release", tmp_path / "cache"
    cache.mkdir()
    for number, path in enumerate(sorted(path for path in release.rglob("*") if path.is_file())):
        path.rename(cache / str(number))
        path.symlink_to(cache / str(number))
    with serve_hub({}, COMMIT) as hub:
        done = publish(project, hub, "me/tuned")
        assert done.returncode == 0, done.stderr
        assert {name: hub.repositories[ME][name] for name in FILES} == FILES
        assert hub.repositories[ME].keys() == {*FILES, "README.md", "gate.json"}


def test_a_repository_of_another_kind_is_left_alone_unless_told(project: Path) -> None:
    other = {"config.json": b"{}", "model.safetensors": b"of a year", ".gitattributes": b""}
    with serve_hub({ME: dict(other)}, COMMIT) as hub:
        done = publish(project, hub, "me/tuned")
        assert (done.returncode, hub.repositories[ME], hub.commits) == (1, other, [])
        assert done.stderr == (
            "error: me/tuned exists and holds something else than a release of embedtune: 'config.json', "
            "'model.safetensors'; give another name, or --replace to overwrite and delete these files\n"
        )
        assert publish(project, hub, "me/tuned", "--replace").returncode == 0
        assert hub.repositories[ME].keys() == {*FILES, "README.md", "gate.json", ".gitattributes"}


def refused(monkeypatch: pytest.MonkeyPatch, project: Path, *arguments: str) -> str:
    """What is said, in this process, before anything is asked of a hub."""
    monkeypatch.chdir(project)
    monkeypatch.setattr(constants, "ENDPOINT", "http://nobody.invalid")
    with pytest.raises(EmbedTuneError) as raised:
        publishing.main(["me/tuned", *arguments])
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("name", ["model.safetensors", "1_Pooling/config.json", "gate.json", "system.json"])
def test_what_was_changed_since_the_verdict_is_not_sent(
    project: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = project / "models" / "release" / name
    path.write_bytes(path.read_bytes() + b" ")
    said = f"models/release/{name}: is not what was released and judged; bring it back with `dvc checkout`, or run"
    assert refused(monkeypatch, project, "--although-the-gate-is-shut").startswith(said)
    path.unlink()
    assert refused(monkeypatch, project).startswith(f"models/release/{name}: is missing")


def test_a_card_may_be_edited_but_is_no_link_to_another_file(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    card = Path("models/release/README.md")
    card.write_text(CARD + "An own word.\n", encoding="utf-8")
    assert publishing.released_files("me/tuned")["README.md"].endswith(b"An own word.\n")
    assert "README.md was edited since the release was made; it is sent as it is" in capsys.readouterr().err
    card.unlink()
    card.symlink_to("/etc/hostname")
    assert "is not what was released" in refused(monkeypatch, project)
    card.unlink()
    card.write_bytes(b"---\n---\n\xff")
    assert refused(monkeypatch, project) == "models/release/README.md: not UTF-8 text; save the file as UTF-8"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "the content: Input should be a valid dict"),
        ({"passed": "no"}, "passed: Input should be a valid boolean"),
        ({"passed": True, "system": "a", "baseline": "b", "rules": {"ndcg@10": 1}}, "rules.ndcg@10: Input should be"),
    ],
)
def test_an_odd_verdict_is_one_line(project: Path, monkeypatch: pytest.MonkeyPatch, content: object, said: str) -> None:
    json_files.write_json(project / "models" / "release" / "gate.json", content)
    released(project)
    error = refused(monkeypatch, project)
    assert error.startswith("models/release/gate.json: is no verdict of the gate: ") and said in error
    json_files.write_json(project / "metrics" / "release.json", content)
    assert refused(monkeypatch, project).startswith("metrics/release.json: ")


def test_settings_that_stop_a_push_are_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(monkeypatch, project, "--message", " ").startswith("--message is empty")
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such.pem")
    assert "SSL_CERT_FILE is /no/such.pem, and no certificates can be read there" in refused(monkeypatch, project)
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refused(monkeypatch, project) == (
        "HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set, which forbids uploads; unset it"
    )
