"""Tables of what the pipeline is and what it gives."""

from __future__ import annotations

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
    "slices": "按长度与答案位置给待评估的问题分组",
    "index_base": "为基础模型的段落向量建索引",
    "index": "为该轮模型的段落向量建索引",
    "evaluate_base": "用基础模型的向量检索并计算指标",
    "evaluate": "用该轮模型的向量检索并计算指标",
    "lexical": "按词检索（BM25）并计算指标",
    "hybrid": "以两种方式融合模型与按词检索的结果",
    "compare": "并列比较所有系统与各轮",
}


def stages_table(chinese: bool) -> str:
    """One row a stage: what it does, its parameters, what it writes."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    rows = []
    for name, whole in stages.items():
        stage = whole.get("do", whole)
        title = f"`{name}@finetuned`" if "foreach" in whole else f"`{name}`"
        what = STAGES_ZH[name] if chinese else stage["desc"].replace("the ${key} model", "the round's model")
        sections = sorted({key.split(".")[0] for key in stage.get("params", [])})
        writes = [
            out if isinstance(out, str) else next(iter(out))
            for kind in ("outs", "metrics")
            for out in stage.get(kind, [])
        ]
        named = ", ".join(f"`{out.replace('${key}', 'finetuned')}`" for out in writes)
        rows.append([title, what, ", ".join(f"`{s}`" for s in sections), named])
    head = ["阶段", "做什么", "参数", "产出"] if chinese else ["stage", "what it does", "parameters", "writes"]
    return table(head, rows)


def results_table(chinese: bool) -> str:
    """One row a run of benchmarks/pipeline.py."""
    result = read_result("pipeline")
    rows = []
    for name, run in result["runs"].items():
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


def _machine(hardware: dict[str, Any], chinese: bool) -> str:
    name = f"{hardware['processor']}, {hardware['gpu'] or 'no GPU'}"
    if chinese:
        gpu = hardware["gpu"] or "无 GPU"
        return f"机器：{hardware['cores']} 个 CPU 核（{hardware['processor']}），{gpu}。± 为增益的标准误。"
    return f"On {hardware['cores']} CPU cores ({name}); ± is the standard error of the gain."
