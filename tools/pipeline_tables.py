"""Tables of what the pipeline is and what it gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from benchmarks.harness import read_result
from tools.markdown import RUNS, table

ROOT = Path(__file__).parents[1]

STAGES_ZH = {
    "download": "取得数据集，原样放进 data/raw",
    "base_model": "取得待微调的模型，连同池化方式与指令放进 models/base",
    "convert": "转成 BEIR 格式，补全数据划分，并统计",
    "segment": "每篇文档只分词一次，切成段落",
    "encode_base": "用基础模型编码全部段落与查询",
    "encode": "用该轮的模型编码全部段落与查询",
    "reranker": "需要时，取得选定正例段落的交叉编码器，放进 models/reranker",
    "mine": "按先前模型的检索结果，选定正例段落，抽取难负例与随机负例",
    "dev_pool": "选定训练途中评估用的文档池",
    "train": "在该轮挖掘出的数据上微调该轮的起点模型",
    "mixture": "把一轮的权重与基础模型的权重混合，权重由 dev 与通用数据集选定",
    "slices": "按长度与答案位置给待评估的问题分组",
    "index_base": "为基础模型的段落向量建索引",
    "index": "为该轮模型的段落向量建索引",
    "evaluate_base": "用基础模型的向量检索并计算指标",
    "evaluate": "用该轮模型的向量检索并计算指标",
    "lexical": "为文档的词建索引（BM25），按词检索并计算指标",
    "fuse": "融合模型与按词检索的结果，并计算指标",
    "choose": "在 dev 上决定发布微调后的系统还是基准系统",
    "gate": "按 gate 一节的规则，对照基准系统评判待发布的系统",
    "compare": "并列比较所有系统与各轮，给出每个差值的把握",
    "general_data": "需要时，备好通用数据集，用以察看微调遗忘了什么",
    "calibrate": "在 dev 上学习所发布系统的分数的含义，并加以检验",
    "forgetting": "需要时，在通用数据集上测量两个系统的模型",
    "release": "把 dev 选定的系统连同说明卡与分数校准放进 models/release",
    "report": "把结果写成一页报告（metrics/report.html，git 与 DVC 都不收）与摘要",
}

EXAMPLES = {
    "${rounds}": "finetuned",
    "${mixtures}": "mixed",
    "${fusions}": "hybrid_scores",
}  # a name from each list that stages are repeated for


def stages_table(chinese: bool) -> str:
    """One row a stage: its name and what it is for."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    rows = []
    for name, whole in stages.items():
        if name.endswith("_mixture"):  # encode, index and evaluate, of mixtures
            continue
        key = EXAMPLES.get(str(whole.get("foreach")), "base")
        title = f"`{name}@{key}`" if "foreach" in whole else f"`{name}`"
        described = whole.get("do", whole)["desc"].replace("${key}", "base" if key == "base" else "round's")
        rows.append([title, STAGES_ZH[name] if chinese else described])
    return table(["阶段", "做什么"] if chinese else ["stage", "what it does"], rows)


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
