"""Fetching from a loopback hub in a process of its own, since huggingface_hub reads HF_ENDPOINT once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMIT = "d67138e705d963e346253a80e59676ddb418810a"
PIECE = 10 * 1024 * 1024  # bytes; huggingface_hub writes a download in pieces of this size
CORPUS = "mldr-v1.0-zh/corpus.jsonl.gz"
TRAIN = "mldr-v1.0-zh/train.jsonl.gz"
MLDR = {f"mldr-v1.0-zh/{part}.jsonl.gz": f"the rows of {part}".encode() for part in ("train", "dev", "test", "corpus")}
MODEL = {
    "config.json": b"{}\n",
    "vocab.txt": b"[PAD]\n",
    "1_Pooling/config.json": b"{ }",
    "model.safetensors": b"w" * 99,
}
WANTED = {"dataset": MLDR, "model": MODEL}
NAMES = {"dataset": "Shitao/MLDR", "model": "BAAI/bge-base-zh-v1.5"}
SCRIPT = """
import sys
from pathlib import Path
from embedtune.core.errors import EmbedTuneError
from embedtune.data.hub.choosing import choose_mldr_files, choose_model_files
from embedtune.data.hub.fetch import fetch_files

repository, kind, revision, target = sys.argv[1:]
choose = choose_mldr_files("zh") if kind == "dataset" else choose_model_files
try:
    print(fetch_files(repository, kind, revision, choose, Path(target)))
except EmbedTuneError as error:
    print(error)
    sys.exit(1)
"""


def start(
    tmp_path: Path, url: str, kind: str = "dataset", revision: str = COMMIT, **more: str
) -> subprocess.Popen[str]:
    """Start fetching into the emptied `tmp_path / "out"`, with the cache of all fetches below the same `tmp_path`."""
    out = tmp_path / "out"
    subprocess.run(["rm", "-rf", out], check=True)
    out.mkdir()
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PYTHONUTF8": "1",
        "HOME": str(tmp_path),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": url,
        **{name: value for name, value in more.items() if name != "repository"},
    }
    command = [sys.executable, "-c", SCRIPT, more.get("repository", NAMES[kind]), kind, revision, str(out)]
    return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def fetch(tmp_path: Path, url: str, kind: str = "dataset", revision: str = COMMIT, **more: str) -> str:
    """Fetch, and return what was printed: the commit, which must be followed by no error."""
    printed, code = run(start(tmp_path, url, kind, revision, **more))
    assert code == 0, printed
    return printed


def fetch_error(tmp_path: Path, url: str, kind: str = "dataset", revision: str = COMMIT, **more: str) -> str:
    """Fetch in vain, and return the text of the EmbedTuneError."""
    printed, code = run(start(tmp_path, url, kind, revision, **more))
    assert code == 1, printed
    return printed


def run(process: subprocess.Popen[str]) -> tuple[str, int]:
    out, err = process.communicate(timeout=30)
    assert "Traceback" not in err, err
    return out.strip(), process.returncode


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def blob(tmp_path: Path, content: bytes, suffix: str = "") -> Path:
    folder = tmp_path / "hf" / "hub" / "datasets--Shitao--MLDR" / "blobs"
    return folder / (hashlib.sha256(content).hexdigest() + suffix)
