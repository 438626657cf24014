"""Tables of what the pipeline is and what it gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from benchmarks.harness import read_result
from tools.markdown import RUNS, table

ROOT = Path(__file__).parents[1]

EXAMPLES = {
    "${rounds}": "finetuned",
    "${mixtures}": "mixed",
    "${fusions}": "hybrid_scores",
    "${rerankers}": "reranked",
}  # a name from each list that stages are repeated for


def stages_table(chinese: bool) -> str:
    """One row a stage: what it does, its parameters, what it writes; `chinese` changes nothing."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    rows = []
    for name, whole in stages.items():
        if name.endswith("_mixture"):  # encode, index and evaluate, of mixtures
            continue
        stage = whole.get("do", whole)
        key = EXAMPLES.get(str(whole.get("foreach")), "base")
        title = f"`{name}@{key}`" if "foreach" in whole else f"`{name}`"
        what = stage["desc"].replace("${key}", "base" if key == "base" else "round's")
        sections = sorted({key.split(".")[0] for key in stage.get("params", [])})
        writes = [
            out if isinstance(out, str) else next(iter(out))
            for kind in ("outs", "metrics")
            for out in stage.get(kind, [])
        ]
        named = ", ".join(f"`{out.replace('${key}', key)}`" for out in writes)
        rows.append([title, what, ", ".join(f"`{s}`" for s in sections), named])
    return table(["stage", "what it does", "parameters", "writes"], rows)


def read_metrics(name: str) -> dict[str, Any]:
    """metrics/<name>.json, of the committed run."""
    content: dict[str, Any] = json.loads((ROOT / "metrics" / f"{name}.json").read_text(encoding="utf-8"))
    return content


def results_table(chinese: bool) -> str:
    """One row a run: of the shipped parameters what is committed in metrics/, others of benchmarks/pipeline.py."""
    result, data = read_result("pipeline"), read_metrics("data")
    committed = {"documents": data["documents"], "test_queries": data["test_queries"], **read_metrics("comparison")}
    rows = []
    for name, measured in result["runs"].items():
        run = measured | committed if name == "sample" else measured
        row = [RUNS[name][chinese], f"{run['documents']:,}", f"{run['test_queries']:,}"]
        for measure in ("recall@10", "ndcg@10"):
            scores = run[measure]
            row.append(f"{scores['base']:.3f} → **{scores['finetuned']:.3f}** (± {scores['gain_standard_error']:.3f})")
        rows.append([*row, f"{run['minutes']:.1f}"])
    head = (
        ["数据（测试集）", "文档数", "问题数", "Recall@10", "NDCG@10", "分钟"]
        if chinese
        else ["data (test questions)", "documents", "questions", "Recall@10", "NDCG@10", "minutes"]
    )
    return table(head, rows) + "\n\n" + _machine(result["hardware"], chinese)


def committed_confidence() -> float:
    """Of the intervals of the committed run."""
    stage = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]["compare"]
    return float(stage["params"]["params.yaml"]["compare"]["confidence"])


def systems_table(chinese: bool) -> str:
    """One row a system of the committed run: its means, and its gain over base with all that is known of it."""
    comparison = read_metrics("comparison")
    pairs = comparison["pairs"]
    percent = f"{100 * committed_confidence():g} %"
    rows = []
    for name in (key for key in comparison["ndcg@10"] if not key.startswith("gain")):
        row = [f"`{name}`", *(f"{comparison[measure][name]:.3f}" for measure in ("recall@10", "ndcg@10"))]
        gain = pairs.get(f"{name}_over_base", {}).get("ndcg@10")
        row += [
            f"{gain['difference']:+.3f} ({gain['low']:+.3f} … {gain['high']:+.3f})" if gain else "",
            f"{gain['p_corrected']:.4f}" if gain else "",
            f"{gain['wins']} / {gain['losses']} / {gain['ties']}" if gain else "",
        ]
        rows.append(row)
    head = (
        [
            "系统",
            "Recall@10",
            "NDCG@10",
            f"NDCG@10 相对 base 的增益（{percent} 区间）",
            "p",
            "变好 / 变差 / 不变的问题数",
        ]
        if chinese
        else [
            "system",
            "Recall@10",
            "NDCG@10",
            f"gain in NDCG@10 over base ({percent} interval)",
            "p",
            "questions better / worse / equal",
        ]
    )
    return table(head, rows)


def _machine(hardware: dict[str, Any], chinese: bool) -> str:
    name = f"{hardware['processor']}, {hardware['gpu'] or 'no GPU'}"
    if chinese:
        gpu = hardware["gpu"] or "无 GPU"
        return f"机器：{hardware['cores']} 个 CPU 核（{hardware['processor']}），{gpu}。± 为增益的标准误。"
    return f"On {hardware['cores']} CPU cores ({name}); ± is the standard error of the gain."
