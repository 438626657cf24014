"""Write the tables of README.md and README.zh.md from what they describe; a test keeps them current.

    python -m tools.readme

A table stands between `<!-- NAME -->` and `<!-- /NAME -->`: `stages` from dvc.yaml, `results` from the metrics that
are committed and benchmarks/results/pipeline.json, `speed` from the other benchmark results.
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


def speed_table(chinese: bool) -> str:
    """Ratios of the committed benchmarks."""
    rows = []
    if (RESULTS / "segmenting.json").exists():
        title = "`convert` + `segment`，相对只跑分词器" if chinese else "`convert` + `segment` over the tokenizer alone"
        rows.append([title, f"{_result('segmenting')['time_over_encode_batch']:.2f}"])
    workloads = _result("encoding")["workloads"].values()
    for peer, title in PEERS.items():
        rows.append([title[chinese], " / ".join(f"{workload['time_over'][peer]:.2f}" for workload in workloads)])
    if (RESULTS / "training.json").exists():
        training = _result("training")
        sizes = training["steps"].values()
        floor = " / ".join(f"{size['time_over_floor']:.2f}" for size in sizes)
        peer = " / ".join(f"{1 / size['FlagEmbedding_over_embedtune']:.2f}" for size in sizes)
        cache = f"{training['grad_cache']['time_over_two_forwards_and_a_backward']:.2f}"
        rows += [
            ["训练一步，相对现成张量" if chinese else "a training step over ready tensors", floor],
            [
                "训练一步，相对 FlagEmbedding 的命令行" if chinese else "a training step over FlagEmbedding's command",
                peer,
            ],
            [
                "GradCache 的一步，相对两次前向与一次反向"
                if chinese
                else "a GradCache step over two forwards and a backward",
                cache,
            ],
        ]
    head = ["用时之比（小于 1 即更快）", "×"] if chinese else ["time, as a ratio (below 1 is faster)", "×"]
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


TABLES: dict[str, Callable[[bool], str]] = {"stages": stages_table, "results": results_table, "speed": speed_table}


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
