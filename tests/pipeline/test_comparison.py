"""The report of a run in a real browser, comparisons between revisions, calibration, mixtures, what was forgotten."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from embedtune.commands import compare, encode
from embedtune.comparison import calibration
from embedtune.comparison.calibration import Top1, calibration_measures
from embedtune.core.errors import EmbedTuneError
from embedtune.data.corpus import read_queries
from embedtune.evaluation.per_query import first_documents
from stages import calibrate, release, report
from tests.browser import look_at, needs_chromium
from tests.pipeline.conftest import Project

pytestmark = pytest.mark.slow


@needs_chromium
@pytest.mark.parametrize("width", [400, 1200])
def test_the_report_of_a_run_is_readable_at_two_widths(finished: Project, tmp_path: Path, width: int) -> None:
    page = (finished.root / "metrics" / "report.html").read_text(encoding="utf-8")
    seen, picture = look_at(page, tmp_path, width)
    assert seen["width"] <= seen["window"] == picture.width == width
    assert seen["overlaps"] == []
    assert page.count("<figure>") >= 9


def test_the_report_is_one_file_that_says_what_was_found(finished: Project) -> None:
    page = (finished.root / "metrics" / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](https?:)?//|url\(["']?https?:|@import""", page), "nothing is fetched"
    assert len(page) < 3_000_000
    text = unescape(re.sub(r"<[^>]+>", " ", page))
    comparison = finished.metrics("comparison")
    for system in ("base", "finetuned", "bm25", "hybrid_ranks", "hybrid_scores"):
        assert f"{comparison['ndcg@10'][system]:.4f}" in text
    for title in ("Recall by cutoff", "Training loss", "Questions that gained most", "What was run", "Reliability"):
        assert title in text
    assert f"{finished.metrics('data')['documents']}" in text
    assert "training of finetuned" in text and "not known" not in text
    assert "learning_rate" in text, "params.yaml is in it"
    summary = (finished.root / "metrics" / "report.md").read_text(encoding="utf-8")
    rows = [line for line in summary.splitlines() if line.startswith("| finetuned |")]
    assert rows and f"{comparison['ndcg@10']['finetuned']:.4f}" in rows[0]


def test_the_page_names_the_commit_and_what_this_machine_did(project: Project) -> None:
    shutil.rmtree(project.root / "logs")
    project.stages("report")
    page = (project.root / "metrics" / "report.html").read_text(encoding="utf-8")
    revision = project.run("git", "rev-parse", "--short=12", "HEAD").stdout.strip()
    assert f"<dt>git revision</dt><dd>{revision}</dd>" in page
    assert "<dt>training of finetuned</dt><dd>not known: not this machine&#39;s last</dd>" in page
    assert project.run("git", "status", "--porcelain").stdout == "", "report.md is what it was"


def compared(project: Project, *arguments: str) -> str:
    """What `embedtune compare` prints."""
    printed = io.StringIO()
    with contextlib.chdir(project.root), contextlib.redirect_stdout(printed):
        compare.main(list(arguments))
    return printed.getvalue()


def test_two_revisions_are_compared_question_by_question(project: Project) -> None:
    project.edit(train={"learning_rate": 1e-5})
    project.stages("train finetuned", "encode finetuned", "evaluate finetuned")
    table = compared(project, "HEAD", "workspace")
    assert table.splitlines()[0] == "finetuned, 60 test questions"
    row = next(line for line in table.splitlines() if line.startswith("ndcg@10"))
    before, after = (float(number) for number in row.split()[1:3])
    assert after == pytest.approx(project.metrics("finetuned")["ndcg@10"], abs=1e-4)
    assert before != after
    same = compared(project, "HEAD", "workspace", "--system", "base")
    assert next(line for line in same.splitlines() if line.startswith("ndcg@10")).endswith("0 / 0 / 60")
    whole = json.loads(compared(project, "HEAD", "workspace", "--json"))
    assert whole["measures"]["ndcg@10"]["difference"] == pytest.approx(after - before, abs=1e-4)
    scores = whole["scores"]
    gains = {q: scores["workspace"][q]["ndcg@10"] - row["ndcg@10"] for q, row in scores["HEAD"].items()}
    assert sum(gains.values()) / 60 == pytest.approx(after - before, abs=1e-4)
    worst = min(gains, key=lambda query: gains[query])
    text = next(
        row["text"]
        for row in map(json.loads, (project.root / "data" / "queries" / "test.jsonl").read_text().splitlines())
        if row["_id"] == worst
    )
    assert f"  {worst}  {text}" in table.partition("lost most in ndcg@10:")[2]
    first = ("HEAD", "workspace", "--system", "base", "--second-system", "finetuned")
    across = compared(project, *first)
    assert across.splitlines()[0] == "base of HEAD against finetuned of workspace, 60 test questions"
    tuned = next(line for line in across.splitlines() if line.startswith("ndcg@10")).split()[2]
    assert float(tuned) == pytest.approx(after, abs=1e-4)
    unknown = project.run("python", "-m", "embedtune", "compare", "nowhere", "workspace", check=False)
    assert "error: nowhere: no such git revision or DVC experiment" in unknown.stderr
    shutil.rmtree(project.root / ".dvc" / "cache")
    lost = project.run("python", "-m", "embedtune", "compare", "HEAD", "workspace", check=False)
    assert "data/queries/test.jsonl cannot be read as of HEAD" in lost.stderr
    assert "Traceback" not in lost.stderr
    project.run("dvc", "remote", "add", "--quiet", "--default", "store", str(project.root / "store"))
    elsewhere = project.run("python", "-m", "embedtune", "compare", "HEAD", "workspace", check=False)
    assert "cannot be read as of HEAD" in elsewhere.stderr and "Traceback" not in elsewhere.stderr


def test_an_experiment_is_compared_by_its_name_and_other_questions_are_refused(project: Project) -> None:
    project.run("dvc", "exp", "run", "-n", "fewer", "-S", "evaluate.cutoffs=[10]", "evaluate@finetuned")
    table = compared(project, "HEAD", "fewer")
    assert [line.split()[0] for line in table.splitlines()[2:5]] == ["recall@10", "ndcg@10", "mrr@10"], "what both have"
    project.edit(dataset={"sample": {"documents": 41}})
    project.repro("convert")
    other = project.run("python", "-m", "embedtune", "compare", "HEAD", "workspace", check=False)
    assert "error: data/corpus.jsonl differs between HEAD and workspace" in other.stderr
    project.edit(evaluate={"split": "dev"})
    other = project.run("python", "-m", "embedtune", "compare", "HEAD", "workspace", check=False)
    assert "error: HEAD evaluated the split test, workspace dev: they share no questions" in other.stderr


def test_the_gate_and_the_report_are_refused_where_they_would_be_of_another_state(project: Project) -> None:
    """Even without data, which dvc.lock speaks for: such as in a clone that continuous integration made."""
    shutil.rmtree(project.root / ".dvc" / "cache")
    for folder in ("embeddings", "passages", "runs", "qrels"):
        shutil.rmtree(project.root / "data" / folder)
    judged = project.run("python", "-m", "embedtune", "gate", check=False)
    assert "not of the code" not in judged.stderr
    assert judged.stderr.startswith("error: the gate is shut") or "\nthe gate is open" in judged.stdout
    project.edit(lexical={"k1": 2.0})
    same = project.run("python", "-m", "embedtune", "gate", check=False)
    assert (same.stdout, same.stderr) == (judged.stdout, judged.stderr), "BM25 has no part in it"
    for command in (("check", "--results-of", "compare"), ("check", "--results-of", "report")):
        stale = project.run("python", "-m", "embedtune", *command, check=False)
        assert stale.returncode == 1
        assert "are not of the code, parameters and data as they are now (lexical); run `dvc repro`" in stale.stderr


def test_on_dev_a_calibration_is_learned_from_one_half_and_measured_on_the_other(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.edit(evaluate={"split": "dev"}, calibrate={"precision": 0.001})
    monkeypatch.chdir(project.root)
    monkeypatch.setattr(calibration, "MIN_QUESTIONS", 20)
    calibrate.main()
    learned = json.loads((project.root / "data" / "calibration.json").read_text())
    found = project.metrics("calibration")
    assert (learned["dev_questions"], found["dev_questions"], found["questions"]) == (20, 20, 20)
    assert learned["precision_wanted"] == 0.001
    assert 0 <= found["expected_calibration_error"] <= 1


def test_what_is_released_gives_the_figures_that_were_measured(project: Project) -> None:
    """The threshold and the probabilities, rounded as files have them, on the run's own first documents."""
    learned = json.loads((project.root / "models" / "release" / "calibration.json").read_text())
    assert learned == json.loads((project.root / "data" / "calibration.json").read_text())
    found = project.metrics("calibration")
    queries = read_queries(project.root / "data" / "queries", project.root / "data" / "qrels", "test")
    first = first_documents(project.root / "data" / "runs" / learned["system"] / "run.trec", 1)
    scores = np.array([first[query.id][0][1] for query in queries])
    right = np.array([first[query.id][0][0] in query.relevant() for query in queries])
    own = calibration_measures(learned, learned["threshold"], Top1(scores, right))
    assert own == pytest.approx({name: found[name] for name in own}, abs=1e-4)


def test_too_few_dev_questions_leave_scores_as_they_are_which_is_said(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    monkeypatch.setattr(calibration, "MIN_QUESTIONS", 41)
    for stage in (calibrate, release, report):
        stage.main()
    released = project.root / "models" / "release"
    assert json.loads((released / "calibration.json").read_text()) == {
        "system": project.metrics("choice")["chosen"],
        "dev_questions": 40,
        "questions": 60,
        "threshold": None,
    }
    assert "40 dev questions were too few to learn it." in (released / "README.md").read_text(encoding="utf-8")
    page = (project.root / "metrics" / "report.html").read_text(encoding="utf-8")
    assert "40 dev questions are too few to learn it." in page and "Reliability" not in page


def write_general(folder: Path) -> None:
    """A general data set in BEIR's layout: questions that name what documents are about."""
    (folder / "qrels").mkdir(parents=True)
    topics = [f"{a}{b}" for a in "天地玄黄宇宙洪荒" for b in "日月盈昃辰宿列张"]
    rows = {
        "corpus": [{"_id": f"d{i}", "title": "", "text": topic * 4} for i, topic in enumerate(topics)],
        "queries": [{"_id": f"q{i}", "text": topic} for i, topic in enumerate(topics[:40])],
    }
    for name, content in rows.items():
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in content]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    judged = "".join(f"q{i}\td{i}\t1\n" for i in range(40))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)


def test_a_mixture_is_measured_on_both_domains_judged_and_released(project: Project) -> None:
    """What is trained stays as it is; the mixture goes through evaluation, gate, report and release."""
    write_general(project.root / "general")
    weights = [0, 0.5, 1]
    project.edit(
        general_data={"source": "local", "path": "general"},
        mixtures={"mixed": {"model": "finetuned", "weights": weights}},
        systems=["base", "finetuned", "mixed", "bm25"],
        release={"system": "mixed"},
    )
    ran = project.stale()
    of_mixture = {f"{step}@mixed" for step in ("mixture", "encode_mixture", "index_mixture", "evaluate_mixture")}
    assert {"general_data", "choose", "gate", *of_mixture} <= ran
    assert not {name for name in ran if name.startswith(("train@", "mine@", "encode@", "encode_base", "fuse"))}
    project.stages("general_data", "mixture mixed", "encode mixed", "index mixed", "evaluate mixed")
    project.stages("choose", "gate", "compare", "calibrate", "forgetting", "release", "report")
    told = project.metrics("training/mixed")
    assert told["weight"] in weights
    curve = (project.root / "metrics" / "plots" / "mixing" / "mixed.csv").read_text().splitlines()
    assert curve[0] == "weight,in_domain,general" and len(curve) == 4
    forgotten = project.metrics("forgetting")
    assert forgotten["baseline"]["recall@10"] > 0
    chosen = dict(zip(curve[0].split(","), curve[1 + weights.index(told["weight"])].split(","), strict=True))
    assert forgotten["system"]["ndcg@10"] == pytest.approx(float(chosen["general"]), abs=1e-3)
    assert project.metrics("gate")["system"] == "mixed"
    card = (project.root / "models" / "release" / "README.md").read_text(encoding="utf-8")
    choice = project.metrics("choice")
    mixed = f"{100 * told['weight']:g} % of its weights are of that model, the rest of the base model."
    assert (mixed if choice["chosen"] == "mixed" else "none of the training is in them") in card
    assert project.metrics("gate")["choice"] in card
    page = (project.root / "metrics" / "report.html").read_text(encoding="utf-8")
    assert "Mixture mixed: in-domain against general" in page and "What was forgotten" in page
    assert "mixed_over_finetuned" in project.metrics("comparison")["pairs"]


def test_a_question_is_answered_and_texts_are_embedded_with_what_was_released(project: Project) -> None:
    query = read_queries(project.root / "data" / "queries", project.root / "data" / "qrels", "test")[0]
    chosen = project.metrics("choice")["chosen"]
    ranked = first_documents(project.root / "data" / "runs" / chosen / "run.trec", 3)[query.id]
    shown = json.loads(project.run("embedtune", "rank", query.text, "--depth", "3", "--json").stdout)
    assert [row["document"] for row in shown] == [document for document, _ in ranked]
    assert [row["score"] for row in shown] == pytest.approx([score for _, score in ranked], abs=1e-3)
    table = project.run("embedtune", "rank", query.text).stdout
    assert table.startswith("  1  ") and ranked[0][0] in table.splitlines()[0]
    (project.root / "texts.txt").write_text(f"{query.text}\n{'很长的文本' * 200}\n", encoding="utf-8")
    said = project.run("embedtune", "encode", "texts.txt", "--queries", "--max-len", "64").stderr
    assert "wrote 2 vectors of 128 numbers to texts.npy" in said and "1 texts are longer than 64 tokens" in said
    stored = np.load(project.root / "data" / "embeddings" / chosen / "queries-test.npy")[0]
    np.testing.assert_allclose(np.load(project.root / "texts.npy")[0], stored, atol=2e-3)
    shutil.rmtree(project.root / "data" / "embeddings" / chosen)
    lost = project.run("embedtune", "rank", query.text, check=False)
    assert f"error: data/embeddings/{chosen}: is not here, and the system needs it; `dvc pull`" in lost.stderr


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("texts.txt", "a\n\nb\n", "texts.txt:2: is empty; every line is to be a text"),
        ("texts.txt", "", "texts.txt: holds no text"),
        (
            "rows.jsonl",
            '{"text": "a"}\n{"txt": "b"}\n',
            "rows.jsonl: row 2: expected a text in `text` (--key), got None",
        ),
        ("rows.jsonl", '{"text": \n', "rows.jsonl:1: not valid JSON"),
    ],
)
def test_texts_that_cannot_be_embedded_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(EmbedTuneError) as caught:
        encode.read_texts(Path(name), "text")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("system", ["hybrid_scores", "bm25"])
def test_a_system_that_is_no_model_is_judged_calibrated_and_released(project: Project, system: str) -> None:
    project.edit(release={"system": system})
    said = project.stages("choose", "gate", "compare", "calibrate", "forgetting", "release", "report").said
    chosen = project.metrics("choice")["chosen"]
    assert chosen in (system, "base")
    assert project.metrics("gate")["system"] == system
    released = project.root / "models" / "release"
    described = json.loads((released / "system.json").read_text())
    assert described["kind"] == ("dense" if chosen == "base" else "fused" if system == "hybrid_scores" else "lexical")
    assert (released / "model.safetensors").exists() == (described["kind"] != "lexical")
    assert f"{system}_over_base" in project.metrics("comparison")["pairs"]
    assert "forgetting: no general data" in said
    page = (project.root / "metrics" / "report.html").read_text(encoding="utf-8")
    assert f'<h2 id="gain">{system} over base</h2>' in page
    assert project.metrics("summary")["released"] == chosen
    query = read_queries(project.root / "data" / "queries", project.root / "data" / "qrels", "test")[0]
    ranked = first_documents(project.root / "data" / "runs" / chosen / "run.trec", 3)[query.id]
    shown = json.loads(project.run("embedtune", "rank", query.text, "--depth", "3", "--json").stdout)
    assert [row["document"] for row in shown] == [document for document, _ in ranked]
