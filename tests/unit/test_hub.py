"""Fetching from the hub, against a loopback hub."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedtune.data.hub.cache import checksum
from tests.loopback_hub import LoopbackHub, flipped, git_blob_sha1, serve_hub
from tests.unit.fetching import (
    COMMIT,
    CORPUS,
    MLDR,
    MODEL,
    NAMES,
    PIECE,
    TRAIN,
    WANTED,
    blob,
    fetch,
    fetch_error,
    files_below,
    start,
)


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    others = {"README.md": b"not wanted", "mldr-v1.0-en/corpus.jsonl.gz": b"x", "pytorch_model.bin": b"x"}
    repositories = {(kind, NAMES[kind]): {**others, **files} for kind, files in WANTED.items()}
    with serve_hub(repositories, COMMIT) as served:
        yield served


@pytest.mark.parametrize("kind", ["dataset", "model"])
def test_fetches_the_chosen_files_at_the_pinned_commit(tmp_path: Path, hub: LoopbackHub, kind: str) -> None:
    assert fetch(tmp_path, hub.url, kind) == COMMIT
    assert files_below(tmp_path / "out") == WANTED[kind]
    assert not [path for _, path, _ in hub.requests if "xet" in path]
    resolved = [path for _, path, _ in hub.requests if "/resolve/" in path]
    assert resolved and all(f"/resolve/{COMMIT}/" in path for path in resolved)


def test_a_branch_is_resolved_once_and_downloaded_at_its_commit(tmp_path: Path, hub: LoopbackHub) -> None:
    assert fetch(tmp_path, hub.url, revision="main") == COMMIT
    assert [path for _, path, _ in hub.requests if "main" in path] == ["/api/datasets/Shitao/MLDR/revision/main"]


def test_a_second_fetch_downloads_nothing(tmp_path: Path, hub: LoopbackHub) -> None:
    fetch(tmp_path, hub.url)
    asked = len(hub.requests)
    fetch(tmp_path, hub.url)
    assert files_below(tmp_path / "out") == MLDR
    assert [path for _, path, _ in hub.requests[asked:] if "/resolve/" in path] == []


def test_what_huggingface_hub_has_cached_is_used_and_the_reverse(tmp_path: Path, hub: LoopbackHub) -> None:
    arguments = f"{NAMES['dataset']!r}, %r, repo_type='dataset', revision={COMMIT!r}"
    script = f"from huggingface_hub import hf_hub_download; print(hf_hub_download({arguments}))"
    env = {
        "PATH": os.environ["PATH"],
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
    }
    subprocess.run([sys.executable, "-c", script % CORPUS], env=env, check=True, timeout=30)
    assert len(hub.downloads(CORPUS)) == 1
    fetch(tmp_path, hub.url)
    assert len(hub.downloads(CORPUS)) == 1
    offline = {**env, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script % TRAIN], env=offline, check=True, timeout=30, capture_output=True
    )
    assert Path(done.stdout.decode().strip()).read_bytes() == MLDR[TRAIN]


def test_the_token_is_sent_with_every_request(tmp_path: Path) -> None:
    with serve_hub({("dataset", "Shitao/MLDR"): MLDR}, COMMIT, token="hf_secret") as hub:
        fetch(tmp_path, hub.url, HF_TOKEN="hf_secret")
        sent = {headers.get("authorization") for _, path, headers in hub.requests if "MLDR" in path}
        assert sent == {"Bearer hf_secret"}
        assert files_below(tmp_path / "out") == MLDR


@pytest.mark.parametrize("environment", [{}, {"HF_TOKEN": "hf_wrong"}], ids=["no token", "wrong token"])
def test_a_missing_token_is_asked_for(tmp_path: Path, environment: dict[str, str]) -> None:
    with serve_hub({("dataset", "Shitao/MLDR"): MLDR}, COMMIT, token="hf_secret") as hub:
        assert fetch_error(tmp_path, hub.url, **environment) == (
            f"Shitao/MLDR@{COMMIT}: the hub at {hub.url} refuses access (401); check the name, and if the dataset is "
            "private or gated, set HF_TOKEN to a token that may read it"
        )


def test_a_gated_file_says_where_to_ask_for_access(tmp_path: Path, hub: LoopbackHub) -> None:
    hub.fail("config.json", 403, "GatedRepo")
    assert fetch_error(tmp_path, hub.url, "model", "main") == (
        f"BAAI/bge-base-zh-v1.5@main: access must be asked for; do so at {hub.url}/BAAI/bge-base-zh-v1.5, "
        "then set HF_TOKEN to a token of that account"
    )


def test_unknown_revision(tmp_path: Path, hub: LoopbackHub) -> None:
    assert fetch_error(tmp_path, hub.url, revision="v9") == (
        "Shitao/MLDR@v9: no such revision; name a branch, a tag or a whole commit hash "
        f"from {hub.url}/datasets/Shitao/MLDR/commits/main"
    )


def test_unknown_repository(tmp_path: Path, hub: LoopbackHub) -> None:
    assert fetch_error(tmp_path, hub.url, "model", "main", repository="BAAI/bge-bas") == (
        f"BAAI/bge-bas@main: the hub at {hub.url} has no such model; check the name, and if it is private, set HF_TOKEN"
    )


def test_a_name_that_is_no_repository(tmp_path: Path, hub: LoopbackHub) -> None:
    error = fetch_error(tmp_path, hub.url, "model", "main", repository="models/base/")
    assert error.startswith("models/base/@main: not a repository's name; write it as owner/name (")
    assert hub.requests == []


def test_a_language_that_the_revision_lacks(tmp_path: Path) -> None:
    files = {"mldr-v1.0-en/corpus.jsonl.gz": b"", "mldr-v1.0-de/corpus.jsonl.gz": b"", TRAIN: b"", CORPUS: b""}
    with serve_hub({("dataset", "Shitao/MLDR"): files}, COMMIT) as hub:
        assert fetch_error(tmp_path, hub.url) == (
            f"Shitao/MLDR@{COMMIT}: no mldr-v1.0-zh/dev.jsonl.gz, mldr-v1.0-zh/test.jsonl.gz; "
            "there is MLDR in de, en, zh: choose another language or revision"
        )


def test_a_connection_that_breaks_is_taken_up_again_in_the_same_run(tmp_path: Path, hub: LoopbackHub) -> None:
    corpus = random.Random(1).randbytes(PIECE + 2_000_000)
    hub.repositories[("dataset", "Shitao/MLDR")][CORPUS] = corpus
    hub.break_after(CORPUS, PIECE + 1_000_000)
    fetch(tmp_path, hub.url)
    assert [headers.get("range") for headers in hub.downloads(CORPUS)] == [None, f"bytes={PIECE}-"]
    assert (tmp_path / "out" / CORPUS).read_bytes() == corpus


def test_a_killed_run_is_resumed_by_the_next(tmp_path: Path, hub: LoopbackHub) -> None:
    corpus = random.Random(2).randbytes(PIECE + 2_000_000)
    hub.repositories[("dataset", "Shitao/MLDR")][CORPUS] = corpus
    hub.stall_after(CORPUS, PIECE + 1_000_000)
    partial = blob(tmp_path, corpus, ".embedtune.incomplete")
    process = start(tmp_path, hub.url)
    try:
        deadline = time.monotonic() + 20
        while not (partial.exists() and partial.stat().st_size == PIECE) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert partial.stat().st_size == PIECE
    fetch(tmp_path, hub.url)
    assert [headers.get("range") for headers in hub.downloads(CORPUS)] == [None, f"bytes={PIECE}-"]
    assert len(hub.downloads(TRAIN)) == 1
    assert (tmp_path / "out" / CORPUS).read_bytes() == corpus
    assert not partial.exists()


def test_a_partial_file_of_other_bytes_is_refused_and_then_replaced(tmp_path: Path, hub: LoopbackHub) -> None:
    partial = blob(tmp_path, MLDR[CORPUS], ".embedtune.incomplete")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"junk")
    assert "it was damaged" in fetch_error(tmp_path, hub.url)
    assert hub.downloads(CORPUS)[0]["range"] == "bytes=4-"
    fetch(tmp_path, hub.url)
    assert files_below(tmp_path / "out") == MLDR


def test_a_partial_file_longer_than_the_file_starts_over(tmp_path: Path, hub: LoopbackHub) -> None:
    partial = blob(tmp_path, MLDR[CORPUS], ".embedtune.incomplete")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"junk" * 1000)
    fetch(tmp_path, hub.url)
    assert files_below(tmp_path / "out") == MLDR


def test_corrupted_content_is_refused_and_not_kept(tmp_path: Path, hub: LoopbackHub) -> None:
    hub.corrupt(CORPUS)
    wrong = hashlib.sha256(flipped(MLDR[CORPUS])).hexdigest()
    right = hashlib.sha256(MLDR[CORPUS]).hexdigest()
    assert fetch_error(tmp_path, hub.url) == (
        f"Shitao/MLDR@{COMMIT}: {CORPUS} has the checksum {wrong}, and the hub at {hub.url} lists {right}: it was "
        "damaged on its way or on the disk; it is deleted from the cache, run again to download it anew"
    )
    assert CORPUS not in files_below(tmp_path / "out")
    assert CORPUS not in "".join(files_below(tmp_path / "hf" / "hub"))
    assert not blob(tmp_path, MLDR[CORPUS]).exists()
    hub.mend(CORPUS)
    fetch(tmp_path, hub.url)
    assert files_below(tmp_path / "out") == MLDR


def test_a_corrupted_plain_file_is_refused_by_its_git_checksum(tmp_path: Path, hub: LoopbackHub) -> None:
    hub.corrupt("vocab.txt")
    error = fetch_error(tmp_path, hub.url, "model")
    assert f"vocab.txt has the checksum {git_blob_sha1(flipped(MODEL['vocab.txt']))}" in error
    assert f"lists {git_blob_sha1(MODEL['vocab.txt'])}" in error


def test_a_file_damaged_in_the_cache_is_refused_and_then_downloaded_anew(tmp_path: Path, hub: LoopbackHub) -> None:
    fetch(tmp_path, hub.url)
    blob(tmp_path, MLDR[CORPUS]).write_bytes(b"bit rot")
    assert "it was damaged on its way or on the disk" in fetch_error(tmp_path, hub.url)
    fetch(tmp_path, hub.url)
    assert files_below(tmp_path / "out") == MLDR
    assert len(hub.downloads(CORPUS)) == 2


def test_without_a_network_the_error_comes_at_once(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"  # bound, not listening: connections are refused
        started = time.monotonic()
        error = fetch_error(tmp_path, url)
    assert time.monotonic() - started < 8
    assert error == (
        f"Shitao/MLDR@{COMMIT}: the hub at {url} cannot be reached or broke off (ConnectError: [Errno 111] Connection "
        "refused); check the network and the proxy, set HF_ENDPOINT to another mirror, or download it elsewhere and "
        "write `source: local` and `path`; HF_HUB_OFFLINE=1 uses what Hugging Face's cache has; what has arrived is "
        "kept, and the next run goes on from there"
    )


def test_an_endpoint_that_is_no_url(tmp_path: Path) -> None:
    error = fetch_error(tmp_path, "mirror.example")
    assert "the hub at mirror.example cannot be reached" in error and "set HF_ENDPOINT to another mirror" in error


def test_offline_without_the_files_says_what_to_do(tmp_path: Path, hub: LoopbackHub) -> None:
    assert fetch_error(tmp_path, hub.url, HF_HUB_OFFLINE="1") == (
        f"Shitao/MLDR@{COMMIT}: HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set, and "
        f"{tmp_path}/hf/hub/datasets--Shitao--MLDR has no files of this revision; unset it, fetch the files before "
        "with `hf download`, or write `source: local` and `path`"
    )
    assert hub.requests == []


def test_offline_the_cache_is_read_and_verified(tmp_path: Path, hub: LoopbackHub) -> None:
    fetch(tmp_path, hub.url, revision="main")
    asked = len(hub.requests)
    assert fetch(tmp_path, hub.url, revision="main", HF_HUB_OFFLINE="1") == COMMIT
    assert files_below(tmp_path / "out") == MLDR
    blob(tmp_path, MLDR[CORPUS]).write_bytes(b"bit rot")
    assert f"{CORPUS} has the checksum" in fetch_error(tmp_path, hub.url, HF_HUB_OFFLINE="1")
    lacks = fetch_error(tmp_path, hub.url, HF_HUB_OFFLINE="1")
    assert f"no {CORPUS}" in lacks and "HF_HUB_OFFLINE" in lacks
    assert len(hub.requests) == asked, "nothing was asked of the hub"


def test_offline_what_hf_download_has_fetched_is_found(tmp_path: Path, hub: LoopbackHub) -> None:
    """It keeps the whole listing, so that a file that was not fetched is known to be missing."""
    env = {
        "PATH": os.environ["PATH"],
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
    }
    command = ["hf", "download", NAMES["model"], "--revision", "main", "--exclude", "vocab.txt"]
    subprocess.run(command, env=env, check=True, timeout=30, capture_output=True)
    assert "lacks vocab.txt; unset it" in fetch_error(tmp_path, hub.url, "model", "main", HF_HUB_OFFLINE="1")
    subprocess.run(command[:-2], env=env, check=True, timeout=30, capture_output=True)
    assert fetch(tmp_path, hub.url, "model", "main", HF_HUB_OFFLINE="1") == COMMIT
    assert files_below(tmp_path / "out") == MODEL


def test_a_hub_that_fails(tmp_path: Path, hub: LoopbackHub) -> None:
    hub.fail(TRAIN, 503)
    error = fetch_error(tmp_path, hub.url)
    assert f"the hub at {hub.url} failed (Server error '503 Service Unavailable' for url '" in error
    assert error.endswith("what has arrived is kept, and the next run goes on from there")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_names_the_cache(tmp_path: Path, hub: LoopbackHub) -> None:
    partial = blob(tmp_path, MLDR[TRAIN], ".embedtune.incomplete")
    partial.parent.mkdir(parents=True)
    partial.symlink_to("/dev/full")
    assert fetch_error(tmp_path, hub.url) == (
        f"Shitao/MLDR@{COMMIT}: {tmp_path}/hf/hub: the cache cannot be written (No space left on device); "
        "make room there, or set HF_HOME to a folder on another disk; what has arrived is kept, and the next run goes "
        "on from there"
    )


def test_two_downloads_of_one_file_do_not_mix(tmp_path: Path, hub: LoopbackHub) -> None:
    hub.stall_after(TRAIN, 3)
    first = start(tmp_path, hub.url)
    try:
        deadline = time.monotonic() + 20
        while not hub.downloads(TRAIN) and time.monotonic() < deadline:
            time.sleep(0.05)
        error = fetch_error(tmp_path, hub.url)
    finally:
        first.kill()
        first.communicate()
    assert error.startswith(f"Shitao/MLDR@{COMMIT}: another process is downloading {TRAIN} (")
    assert f": process {first.pid} is still writing it; wait for that process to end" in error


def test_checksums_are_those_of_git_and_sha256(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"hello world\n")
    assert checksum(path, like="0" * 40) == "3b18e512dba79e4c8300dd08aeb37f8e728b8dad"  # git hash-object
    assert checksum(path, like="0" * 64) == "a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447"
