"""Every path of a project, defined once, relative to its root. The stages and the commands read and write these."""

from __future__ import annotations

from pathlib import Path

PARAMS, DVC_YAML, DVC_LOCK = Path("params.yaml"), Path("dvc.yaml"), Path("dvc.lock")

DATA, MODELS, METRICS, LOGS = Path("data"), Path("models"), Path("metrics"), Path("logs")
PROFILES = Path("profiles")
CHECKPOINTS = Path("checkpoints")  # scratch folders, from which interrupted runs resume
PLOTS = METRICS / "plots"

# the data set
RAW = DATA / "raw"
CORPUS, QUERIES, QRELS, SKIPPED = DATA / "corpus.jsonl", DATA / "queries", DATA / "qrels", DATA / "skipped.jsonl"
DATA_COUNTS = METRICS / "data.json"
CHECKED, CHECK = DATA / "checked.json", METRICS / "check.json"
PASSAGES, SLICES, DEV_POOL = DATA / "passages", DATA / "slices.csv", DATA / "dev_pool.npy"
LEXICAL, GENERAL_DATA = DATA / "lexical", DATA / "general_data"

# models
BASE, RELEASE = MODELS / "base", MODELS / "release"

# the results of a run
RUNS, MINED = DATA / "runs", DATA / "mined"
COMPARISON, ROUNDS = METRICS / "comparison.json", METRICS / "rounds.json"
CHOICE, VERDICT = METRICS / "choice.json", METRICS / "gate.json"
RELEASED = METRICS / "release.json"  # which system is in models/release, and the SHA-256 of every file there
CALIBRATION, CALIBRATION_METRICS = DATA / "calibration.json", METRICS / "calibration.json"
RELIABILITY, REJECTION = PLOTS / "reliability.csv", PLOTS / "rejection.csv"
FORGETTING = METRICS / "forgetting.json"
REPORT_PAGE, REPORT_SUMMARY, SUMMARY = METRICS / "report.html", METRICS / "report.md", METRICS / "summary.json"
TENSORBOARD = LOGS / "tensorboard"


def model(name: str) -> Path:
    """The directory of a model: base, a training round, a mixture or a reranker."""
    return MODELS / name


def reranker_base(name: str) -> Path:
    """The directory of the cross-encoder that a reranker's training begins with."""
    return MODELS / "reranker_bases" / name


def embeddings(name: str) -> Path:
    """The directory of a model's embeddings of all passages and queries."""
    return DATA / "embeddings" / name


def index(name: str) -> Path:
    """The FAISS index of a model's passage vectors."""
    return DATA / "indexes" / name


def run(system: str) -> Path:
    """The directory of a system's rankings and per-question scores."""
    return RUNS / system


def mined(name: str) -> Path:
    """A round's mined rows."""
    return MINED / f"{name}.jsonl"


def mined_sample(name: str) -> Path:
    """A readable sample of a round's mined rows."""
    return MINED / f"{name}_sample.md"


def source(what: str) -> Path:
    """Where the data set (data), the base model (base) or a reranker's model comes from, with its commit on the hub."""
    return METRICS / "sources" / f"{what}.json"


def metrics(system: str) -> Path:
    """A system's measures."""
    return METRICS / f"{system}.json"


def plots(system: str) -> Path:
    """The directory of a system's means by cutoff and by slice."""
    return PLOTS / system


def mining_metrics(name: str) -> Path:
    """The counts of a round's mining."""
    return METRICS / "mining" / f"{name}.json"


def teaching(name: str) -> Path:
    """Whether a reranker orders dev better than what it re-orders, so that it may teach; none and dataset have one."""
    return METRICS / "teachers" / f"{name}.json"


def mining_plot(name: str) -> Path:
    """A histogram of how far a round's negatives score below their positives."""
    return PLOTS / "mining" / f"{name}.csv"


def training_metrics(name: str) -> Path:
    """The summary of a training round, of a mixture or of a reranker's training."""
    return METRICS / "training" / f"{name}.json"


def training_plot(name: str) -> Path:
    """The loss curve of a training round."""
    return PLOTS / "training" / f"{name}.csv"


def mixing_plot(name: str) -> Path:
    """The measure that each interpolation weight of a mixture gives."""
    return PLOTS / "mixing" / f"{name}.csv"


def training_cost(name: str) -> Path:
    """The time, memory and hardware that a training round took on this machine."""
    return LOGS / "training" / f"{name}.json"


def training_steps(name: str) -> Path:
    """Every log line and dev evaluation of a training round."""
    return LOGS / "training" / f"{name}_steps.jsonl"


def stage_log(stage: str) -> Path:
    """What a stage said when it ran last; `stage` is DVC's name of it, such as train@finetuned."""
    return LOGS / f"{stage}.log"
