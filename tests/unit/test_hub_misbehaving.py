"""Hubs and mirrors that are not as they should be, and settings of this machine that stop a download."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from embedtune.core import locks
from embedtune.core.errors import EmbedTuneError
from embedtune.data.hub import cache, fetch
from embedtune.data.hub.errors import hub_errors
from embedtune.data.hub.listing import MAX_ANSWER_BYTES, list_files, resolve_commit
from tests.loopback_hub import LoopbackHub, serve_hub
from tests.unit.fetching import COMMIT, MLDR, MODEL, NAMES, TRAIN, fetch_error, files_below
from tests.unit.fetching import fetch as fetched

TOKEN = "hf_secret"
OTHER = "mldr-v1.0-zh/more.txt"


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with serve_hub({("dataset", NAMES["dataset"]): dict(MLDR), ("model", NAMES["model"]): dict(MODEL)}, COMMIT) as hub:
        yield hub


def test_a_mirror_that_sends_no_commit_serves_as_well(tmp_path: Path, hub: LoopbackHub) -> None:
    hub.left_out.add("X-Repo-Commit")
    assert fetched(tmp_path, hub.url, "model", "main") == COMMIT
    assert files_below(tmp_path / "out") == MODEL
    asked = len(hub.requests)
    assert fetched(tmp_path, hub.url, "model", "main", HF_HUB_OFFLINE="1") == COMMIT
    assert len(hub.requests) == asked


def test_the_token_stays_with_the_hub_that_it_is_for(tmp_path: Path) -> None:
    """A page of the listing names the next one at another host: it is read there, without the token."""
    half = {name: content for name, content in MLDR.items() if name != TRAIN}
    with (
        serve_hub({("dataset", NAMES["dataset"]): dict(MLDR)}, COMMIT) as elsewhere,
        serve_hub({("dataset", NAMES["dataset"]): half}, COMMIT, token=TOKEN) as hub,
    ):
        hub.links["tree"] = f"{elsewhere.url}/api/datasets/{NAMES['dataset']}/tree/{COMMIT}?page=2"
        hub.repositories[("dataset", NAMES["dataset"])][TRAIN] = MLDR[TRAIN]
        assert fetched(tmp_path, hub.url, HF_TOKEN=TOKEN) == COMMIT
        assert [path.split("/")[5] for _, path, _ in elsewhere.requests] == ["tree"]
        assert TOKEN not in json.dumps(elsewhere.requests)
        assert all(TOKEN in headers["authorization"] for _, path, headers in hub.requests if "MLDR" in path)


def test_no_more_is_read_than_the_listing_says(tmp_path: Path, hub: LoopbackHub) -> None:
    hub.endless[TRAIN] = 0
    fetched(tmp_path, hub.url)
    assert files_below(tmp_path / "out") == MLDR
    assert 0 < hub.endless[TRAIN] < 50_000_000, "what fits into buffers on the way"


def test_of_a_refusal_without_end_the_beginning_is_read(tmp_path: Path, hub: LoopbackHub) -> None:
    hub.endless[TRAIN] = 0
    hub.fail(TRAIN, 500)
    assert f"the hub at {hub.url} failed (Server error '500 Internal" in fetch_error(tmp_path, hub.url)
    assert hub.endless[TRAIN] < 50_000_000


def listed(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said of a listing that cannot be read, in this process."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    with pytest.raises(EmbedTuneError) as raised, hub_errors(NAMES["dataset"], "dataset", "main"):
        list_files(NAMES["dataset"], "dataset", resolve_commit(NAMES["dataset"], "dataset", "main"))
    return str(raised.value)


@pytest.mark.parametrize(
    ("question", "answer", "said"),
    [
        ("revision", b"[]", "no commit hash in the answer"),
        ("revision", b'{"sha": "../../x"}', "no commit hash in the answer"),
        ("revision", b"<html>", "Expecting value"),
        ("revision", b"[" * 200_000, "lists in lists without end"),
        ("tree", b'{"error": "none"}', "the listing: Input should be a valid list"),
        ("tree", b'[{"type": "file"}]', "0.path: Field required"),
        ("tree", b'[{"type": "file", "path": "a", "size": "9", "oid": "0"}]', "0.size: Input should be a valid int"),
        ("tree", b'[{"type": "file", "path": "a", "size": 9, "oid": "../0"}]', "a has the checksum '../0'"),
        ("tree", b'[{"type": "file", "path": "a", "oid": "%s"}]' % (b"0" * 40), "a has no size"),
        ("tree", b'[{"type": "file", "path": "../a", "size": 9, "oid": "0"}]', "a file with the path '../a'"),
        ("tree", b"\xff", "codec can't decode"),
    ],
)
def test_an_odd_answer_is_one_line(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, question: str, answer: bytes, said: str
) -> None:
    hub.answers[question] = answer
    error = listed(hub, monkeypatch)
    assert error.startswith(f"Shitao/MLDR@main: the hub at {hub.url} does not answer as a hub does (")
    assert said in error and "\n" not in error


def test_an_answer_without_end_is_not_read_to_the_end(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.answers["tree"] = bytes(MAX_ANSWER_BYTES + 2**21)
    assert "an answer of more than 64 MiB" in listed(hub, monkeypatch)


def test_a_listing_that_names_itself_as_the_next_page_ends(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.links["tree"] = f"/api/datasets/{NAMES['dataset']}/tree/{COMMIT}"
    assert "a listing that never ends" in listed(hub, monkeypatch)
    assert sum("/tree/" in path for _, path, _ in hub.requests) == 2


@pytest.mark.parametrize(
    ("variable", "content"), [("SSL_CERT_FILE", None), ("SSL_CERT_FILE", "no certificate"), ("SSL_CERT_DIR", None)]
)
def test_certificates_that_are_not_there_are_named(
    tmp_path: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, variable: str, content: str | None
) -> None:
    path = tmp_path / "cacert.pem"
    if content:
        path.write_text(content)
    monkeypatch.setenv(variable, str(path))
    error = listed(hub, monkeypatch)
    assert error.startswith(
        f"Shitao/MLDR@main: the environment variable {variable} is {path}, and no certificates can be read there ("
    )
    assert error.endswith("; unset it, or set it to your certificates (PEM)")
    assert hub.requests == []


def test_a_download_is_locked_until_it_has_its_final_name(
    tmp_path: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    content = MODEL["vocab.txt"]
    seen = []

    def enter(folder: Path, commit: str, name: str, found: Path) -> Path:
        with pytest.raises(EmbedTuneError, match="is still writing it"), locks.locked(partial_of(found)):
            pass
        seen.append(found.read_bytes())
        return found

    def partial_of(found: Path) -> Path:
        return found.with_name(f"{found.name}.embedtune.incomplete")

    monkeypatch.setattr(cache, "enter", enter)
    monkeypatch.setattr(fetch, "complete", lambda partial, *_: partial.write_bytes(content))
    fetch.fetch_files(NAMES["model"], "model", "main", lambda names: ["vocab.txt"], tmp_path / "out")
    assert seen == [content]
