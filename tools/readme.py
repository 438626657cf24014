"""Write the tables of README.md and README.zh.md from what they describe; a test keeps them current.

    python -m tools.readme

A table stands between `<!-- NAME -->` and `<!-- /NAME -->`: `stages` from dvc.yaml, `results` from the metrics that
are committed and benchmarks/results/pipeline.json, `methods` from methods.json, `speed` from the other results there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
READMES = ("README.md", "README.zh.md")

STAGES_ZH = {
    "download": "取得数据集，原样放进 data/raw",
    "base_model": "取得待微调的模型，连同池化方式与指令放进 models/base",
    "convert": "转成 BEIR 格式，补全数据划分，并统计",
    "segment": "每篇文档只分词一次，切成段落",
    "encode": "用基础模型、微调后的模型各编码全部段落与查询",
    "mine": "选定正例段落，抽取难负例与随机负例",
    "dev_pool": "选定训练途中评估用的文档池",
    "train": "在挖掘出的数据上微调",
    "evaluate": "用各模型的向量检索并计算指标",
    "compare": "并列比较微调前后",
}
RUNS = {
    "sample": ("generated sample, `params.yaml` as shipped", "自带生成样本（`params.yaml` 原样）"),
    "sample, questions re-paired at random": ("the same, questions re-paired at random", "同上，问题随机错配（对照）"),
    "stard-laws": ("STARD: lay questions over Chinese laws", "STARD：普通人的法律提问，检索法条"),
}


def stages_table(chinese: bool) -> str:
    """One row a stage: what it does, its parameters, what it writes."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    rows = []
    for name, whole in stages.items():
        stage = whole.get("do", whole)
        title = " ".join(f"`{name}@{item}`" for item in whole.get("foreach", [])) or f"`{name}`"
        what = STAGES_ZH[name] if chinese else stage["desc"].replace("the ${item} model", "either model")
        sections = sorted({key.split(".")[0] for key in stage.get("params", [])})
        writes = [
            out if isinstance(out, str) else next(iter(out))
            for kind in ("outs", "metrics")
            for out in stage.get(kind, [])
        ]
        named = ", ".join(f"`{out.replace('${item}', '*')}`" for out in writes)
        rows.append([title, what.replace("${item} model's", "model's"), ", ".join(f"`{s}`" for s in sections), named])
    head = ["阶段", "做什么", "参数", "产出"] if chinese else ["stage", "what it does", "parameters", "writes"]
    return _table(head, rows)


def results_table(chinese: bool) -> str:
    """One row a run of benchmarks/pipeline.py."""
    result = _result("pipeline")
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
    return _table(head, rows) + "\n\n" + _machine(result["hardware"], chinese)


PEERS = {
    "bare_forward": ("`encode` over a bare forward pass", "`encode`，相对裸前向计算"),
    "FlagModel": ("text to vectors over `FlagModel.encode`", "从文本到向量，相对 `FlagModel.encode`"),
    "SentenceTransformer": (
        "text to vectors over `SentenceTransformer.encode`",
        "从文本到向量，相对 `SentenceTransformer.encode`",
    ),
}


TRAINING: dict[str, tuple[str, str]] = {
    "floor": ("a training step over the same one on ready tensors", "训练一步，相对现成张量上的同一步"),
    "FlagEmbedding": ("a training step over FlagEmbedding's command line", "训练一步，相对 FlagEmbedding 的命令行"),
}
SEGMENTING = ("`convert` + `segment` over the tokenizer alone", "`convert` + `segment`，相对只跑分词器")
GRAD_CACHE = (
    "a step of 1,024 in chunks over two forwards and a backward",
    "分块走一步（批次 1024），相对两次前向与一次反向",
)


def speed_table(chinese: bool) -> str:
    """Ratios of the committed benchmarks."""
    rows = [[SEGMENTING[chinese], f"{_result('segmenting')['time_over_encode_batch']:.2f}"]]
    workloads = _result("encoding")["workloads"].values()
    for peer, title in PEERS.items():
        rows.append([title[chinese], " / ".join(f"{workload['time_over'][peer]:.2f}" for workload in workloads)])
    training = _result("training")
    for peer, title in TRAINING.items():
        rows.append(
            [title[chinese], " / ".join(f"{size['time_over'][peer]:.2f}" for size in training["steps"].values())]
        )
    rows.append([GRAD_CACHE[chinese], f"{training['grad_cache']['time_over_two_forwards_and_a_backward']:.2f}"])
    head = ["用时之比（小于 1 即更快）", "×"] if chinese else ["time, as a ratio (below 1 is faster)", "×"]
    return _table(head, rows)


METHODS_ZH = {
    "full": "全部权重",
    "full, in chunks of 32 (GradCache)": "全部权重，每块 32 条（GradCache）",
    "full, two processes": "全部权重，两个进程",
    "LoRA": "LoRA",
    "full, Matryoshka 32 and 128": "全部权重，Matryoshka 32 与 128",
}


def methods_table(chinese: bool) -> str:
    """One row a way of training, for each data set."""
    rows = []
    for data, methods in _result("methods")["results"].items():
        base = next(iter(methods.values()))
        untrained = [f"{base[measure]['base']:.3f}" for measure in ("recall@10", "ndcg@10")]
        rows.append([RUNS[data][chinese], "训练之前" if chinese else "before training", *untrained, "", "", ""])
        for method, run in methods.items():
            measures = [f"{run[measure]['finetuned']:.3f}" for measure in ("recall@10", "ndcg@10")]
            cost = [f"{run['seconds']:.0f}", f"{run['peak_bytes'] / 1e9:.2f}", f"{run['trained_parameters']:,}"]
            rows.append(["", METHODS_ZH[method] if chinese else method, *measures, *cost])
    head = (
        ["数据", "方式", "Recall@10", "NDCG@10", "训练秒数", "内存峰值（GB）", "训练的参数"]
        if chinese
        else ["data", "way", "Recall@10", "NDCG@10", "seconds of training", "peak memory, GB", "trained parameters"]
    )
    return _table(head, rows)


def _result(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return content


def _machine(hardware: dict[str, Any], chinese: bool) -> str:
    name = f"{hardware['processor']}, {hardware['gpu'] or 'no GPU'}"
    if chinese:
        gpu = hardware["gpu"] or "无 GPU"
        return f"机器：{hardware['cores']} 个 CPU 核（{hardware['processor']}），{gpu}。± 为增益的标准误。"
    return f"On {hardware['cores']} CPU cores ({name}); ± is the standard error of the gain."


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


TABLES: dict[str, Callable[[bool], str]] = {
    "stages": stages_table,
    "results": results_table,
    "methods": methods_table,
    "speed": speed_table,
}


def renewed(text: str, chinese: bool) -> str:
    """`text` with each table between its marks made anew."""
    for name, table in TABLES.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
        text = pattern.sub(lambda match, table=table: match[1] + table(chinese) + match[2], text)  # type: ignore[misc]
    return text


def main() -> None:
    """Renew the tables in place."""
    for name in READMES:
        path = ROOT / name
        path.write_text(renewed(path.read_text(encoding="utf-8"), "zh" in name), encoding="utf-8")


if __name__ == "__main__":
    main()
