"""The sections of params.yaml on comparison: each kind of mistake gets a message before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedtune.config.reading import load_params
from tests.unit.parameters import complaint_about, edited

MEASURES = "recall@1, ndcg@1, mrr@1, recall@10, ndcg@10, mrr@10"
WRONG = {
    "gate-typo": (
        {"gate": "{ndcg@10: {min_gain: 0.01, confidnce: 0.95}}"},
        "params.yaml: gate.ndcg@10.confidence: missing; add it with a number between 0 and 1, such as 0.95\n"
        "params.yaml: gate.ndcg@10.confidnce: unknown key; did you mean 'confidence'?",
    ),
    "gate-value": (
        {"gate": "{ndcg@10: {min_gain: much, confidence: 0.95}}"},
        "params.yaml: gate.ndcg@10.min_gain: expected a number such as 0.01, or -0.01 for a loss that may be, "
        "got 'much'",
    ),
    "gate-number": (
        {"gate": "{ndcg@10: 0.01}"},
        "params.yaml: gate.ndcg@10: expected rules such as {ndcg@10: {min_gain: 0.01, confidence: 0.95}}, of a slice "
        "{ndcg@10 in query_length=0-10: ...}, or {} for no gate, got 0.01",
    ),
    "gate-measure": (
        {"gate": "{ncdg@10: {min_gain: 0.01, confidence: 0.95}}", "evaluate.cutoffs": "[1, 10]"},
        f"params.yaml: gate.ncdg@10: evaluate.cutoffs gives no measure ncdg@10, but {MEASURES}",
    ),
    "compare-measure": (
        {"compare.measures": "[ndcg@5]", "evaluate.cutoffs": "[1, 10]", "gate": "{}"},
        f"params.yaml: compare.measures: evaluate.cutoffs gives no measure ndcg@5, but {MEASURES}",
    ),
    "compare-no-measure": (
        {"compare.measures": "[]"},
        "params.yaml: compare.measures: expected measures such as [recall@10, ndcg@10], or null for all, got []",
    ),
    "gate-slice": (
        {"gate": "{ndcg@10 in length=5: {min_gain: 0.01, confidence: 0.95}}"},
        "params.yaml: gate.ndcg@10 in length=5: expected a slice by query_length, document_length, answer_position, "
        "such as query_length=10-20",
    ),
    "gate-group": (
        {"gate": "{ndcg@10 in query_length=0-15: {min_gain: 0.01, confidence: 0.95}}"},
        "params.yaml: gate.ndcg@10 in query_length=0-15: expected query_length= one of 0-10, 10-20, 20-40, 40-80, "
        "over_80",
    ),
    "compare-too-sure": (
        {"compare.confidence": "0.999", "gate": "{}"},
        "params.yaml: compare.confidence: 10,000 resamples (compare.resamples) are too few for 0.999; "
        "20,000 are enough",
    ),
    "gate-too-sure": (
        {"gate": "{ndcg@10: {min_gain: 0.01, confidence: 0.9999}}"},
        "params.yaml: gate.ndcg@10.confidence: 10,000 resamples (compare.resamples) are too few for 0.9999; "
        "100,000 are enough",
    ),
    "mixture-of-nothing": (
        {"mixtures": "{mixed: {model: round9, weights: [0, 1]}}"},
        "params.yaml: mixtures.mixed.model: expected one of rounds (finetuned), got round9",
    ),
    "mixture-name": (
        {"mixtures": "{gate: {model: finetuned, weights: [0, 1]}}"},
        "params.yaml: mixtures.gate: gate is the name of another system; choose another",
    ),
    "mixture-twice": (
        {"mixtures": "{finetuned: {model: finetuned, weights: [0, 1]}}"},
        "params.yaml: mixtures.finetuned: finetuned is the name of another system; choose another",
    ),
    "mixture-shares": (
        {"mixtures": "{mixed: {model: finetuned, weights: []}}"},
        "params.yaml: mixtures.mixed.weights: expected weights from 0 to 1 to try, such as [0, 0.5, 1], got []",
    ),
    "mixture-percent": (
        {"mixtures": "{mixed: {model: finetuned, weights: [50]}}"},
        "params.yaml: mixtures.mixed.weights: expected weights from 0 to 1 to try, such as [0, 0.5, 1], got [50]",
    ),
    "round-name": (
        {"rounds": "{finetuned: {from: base, teacher: none}, release: {from: base, teacher: none}}"},
        "params.yaml: rounds.release: release is the name of another system; choose another",
    ),
    "calibrate": (
        {"calibrate.method": "temperature"},
        "params.yaml: calibrate.method: expected one of isotonic, platt, got 'temperature'",
    ),
    "general-data": (
        {"general_data.source": "hub"},
        "params.yaml: general_data.source: expected one of none, local, got 'hub'",
    ),
    "fusion-of-nothing": (
        {"fusions": "{hybrid_ranks: {dense: bm25, by: ranks}, hybrid_scores: {dense: finetuned, by: scores}}"},
        "params.yaml: fusions.hybrid_ranks.dense: expected an embedding model (base, finetuned), got bm25",
    ),
    "fusion-way": (
        {"fusions": "{hybrid_ranks: {dense: base, by: rank}, hybrid_scores: {dense: finetuned, by: scores}}"},
        "params.yaml: fusions.hybrid_ranks.by: expected one of ranks, scores, got 'rank'",
    ),
    "fusion-name": (
        {"fusions": "{finetuned: {dense: base, by: ranks}}", "systems": "[base, finetuned]"},
        "params.yaml: fusions.finetuned: finetuned is the name of another system; choose another",
    ),
    "systems-unknown": (
        {"systems": "[base, finetuned, round2]"},
        "params.yaml: systems: round2 is not defined; there are base, finetuned, bm25, hybrid_ranks, hybrid_scores",
    ),
    "systems-twice": ({"systems": "[base, finetuned, base]"}, "params.yaml: systems: base stands twice"),
    "systems-one": (
        {"systems": "[finetuned]"},
        "params.yaml: systems: expected a list of two systems or more, such as [base, finetuned, bm25], "
        "got ['finetuned']",
    ),
    "release-unknown": (
        {"systems": "[base, finetuned]", "release.system": "hybrid_scores"},
        "params.yaml: release.system: expected one of systems (base, finetuned), got hybrid_scores",
    ),
    "release-itself": (
        {"release.baseline": "finetuned"},
        "params.yaml: release.baseline: expected another system than release.system, got finetuned",
    ),
    "old-sections": (
        {"hybrid": "{model: finetuned, rank_constant: 60}", "mix": "{}", "probe": "{source: none}"},
        "params.yaml: hybrid: gone; `release: {system: ..., baseline: base}` names what is judged and released, "
        "`fusions` what is fused with BM25, and `fuse.rank_constant` is its constant\n"
        "params.yaml: mix: is called mixtures now, and `shares` are its `weights`: {mixed: {model: finetuned, "
        "weights: [0, 0.5, 1]}}\n"
        "params.yaml: probe: is called general_data now",
    ),
    "old-keys": (
        {"lexical.depth": "1000", "rounds": "{finetuned: base}", "mine.positive_passage": "head"},
        "params.yaml: lexical.depth: gone; evaluate.depth says how many documents every ranking keeps and a fusion "
        "reads\n"
        "params.yaml: rounds.finetuned: is a section now; write finetuned: {from: base, teacher: none}\n"
        "params.yaml: mine.positive_passage: head is called first now",
    ),
    "compare": (
        {"compare.confidence": "95"},
        "params.yaml: compare.confidence: expected a number between 0 and 1, such as 0.95, got 95",
    ),
}


@pytest.mark.parametrize(("edits", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_value_is_named_with_what_would_be_right(
    tmp_path: Path, edits: dict[str, str | None], message: str
) -> None:
    assert complaint_about(tmp_path, edits) == message


def test_rules_on_slices_and_mixtures_to_release_are_right(tmp_path: Path) -> None:
    edits: dict[str, str | None] = {
        "gate": "{ndcg@10 in query_length=over_80: {min_gain: -0.05, confidence: 0.9}, "
        "mrr@1: {min_gain: 0, confidence: 0.975}}",
        "compare.resamples": "400",  # as many as ten beyond the bounds of 0.95 and 0.975 take
        "mixtures": "{mixed: {model: finetuned, weights: [0, 0.5, 1]}}",
        "systems": "[base, mixed, bm25]",
        "release.system": "mixed",
    }
    params = load_params(edited(tmp_path / "params.yaml", edits))
    assert params.mixtures["mixed"].weights == [0, 0.5, 1]
    assert [rule.min_gain for rule in params.gate.values()] == [-0.05, 0]
