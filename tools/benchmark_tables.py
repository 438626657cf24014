"""Tables of the committed benchmarks."""

from __future__ import annotations

from benchmarks.harness import read_result
from tools.markdown import RUNS, table

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
MINING = {
    "cold": (
        "mining from nothing, over `hn_mine` / `mine_hard_negatives`",
        "从零挖掘，相对 `hn_mine` / `mine_hard_negatives`",
    ),
    "warm": ("mining where `encode_base` is done, over the same", "已有 `encode_base` 时挖掘，相对同上"),
}
GRAD_CACHE = (
    "a step of 1,024 in chunks over two forwards and a backward",
    "分块走一步（批次 1024），相对两次前向与一次反向",
)


def speed_table(chinese: bool) -> str:
    """Ratios of the committed benchmarks."""
    rows = [[SEGMENTING[chinese], f"{read_result('segmenting')['time_over_encode_batch']:.2f}"]]
    workloads = read_result("encoding")["workloads"].values()
    for peer, title in PEERS.items():
        rows.append([title[chinese], " / ".join(f"{workload['time_over'][peer]:.2f}" for workload in workloads)])
    mining = read_result("mining")["median_seconds"]
    for way, title in MINING.items():
        peers = (mining[way] / mining[peer] for peer in ("hn_mine", "sentence_transformers"))
        rows.append([title[chinese], " / ".join(f"{ratio:.2f}" for ratio in peers)])
    training = read_result("training")
    for peer, title in TRAINING.items():
        rows.append(
            [title[chinese], " / ".join(f"{size['time_over'][peer]:.2f}" for size in training["steps"].values())]
        )
    rows.append([GRAD_CACHE[chinese], f"{training['grad_cache']['time_over_two_forwards_and_a_backward']:.2f}"])
    head = ["用时之比（小于 1 即更快）", "×"] if chinese else ["time, as a ratio (below 1 is faster)", "×"]
    return table(head, rows)


REAL_MODEL = {
    "training": {
        "documented": (
            "training, over sentence-transformers' trainer as documented (fp32)",
            "训练，相对 sentence-transformers 文档中的用法（fp32）",
        ),
        "documented_both_fp32": ("the same, embedtune in fp32 too", "同上，embedtune 也用 fp32"),
        "best": (
            "the same, sentence-transformers at its best (bf16, cached loss, token budget, no attention dropout)",
            "同上，sentence-transformers 的最佳用法（bf16、缓存损失、按词元分块、无注意力 dropout）",
        ),
        "FlagEmbedding": ("training, over FlagEmbedding's command line", "训练，相对 FlagEmbedding 的命令行"),
        "floor": ("a step, over its floor: the same kernels on ready tensors", "一步，相对下限：现成张量上的同样算子"),
        "in_chunks_floor_twice": (
            "a step in chunks of 2,048 tokens, over forward, forward and backward",
            "每块 2,048 词元的一步，相对前向、前向与反向",
        ),
    },
    "encoding": {
        "documented": (
            "encoding, over `SentenceTransformer.encode` (fp32)",
            "编码，相对文档用法（fp32）",
        ),
        "documented_both_fp32": ("the same, embedtune in fp32 too", "同上，embedtune 也用 fp32"),
        "best": ("the same in bf16 on both sides", "同上，双方都用 bf16"),
    },
}


def real_model_table(chinese: bool) -> str:
    """How many times as fast as the peers a model of e5-small's size is, and the memory that a step takes."""
    results = read_result("real_model")
    rows = [
        [title[chinese], f"{results[part]['times_as_fast_as'][peer]:.2f}"]
        for part, peers in REAL_MODEL.items()
        for peer, title in peers.items()
    ]
    return table(["倍数（大于 1 即更快）", "×"] if chinese else ["times as fast (above 1 is faster)", "×"], rows)


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
    for data, methods in read_result("methods")["results"].items():
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
    return table(head, rows)


WAYS = {
    "first": ("positive: the first passage of its document", "正例：文档开头"),
    "best": ("positive: the base model's choice (`best`)", "正例：基础模型所选（`best`）"),
    "bm25": ("positive: BM25's choice, as shipped (`bm25`)", "正例：BM25 所选，默认（`bm25`）"),
    "fused": ("positive: both together (`fused`)", "正例：两者合选（`fused`）"),
    "two passages": ("up to two positives a document, where close", "分数接近时每篇取两段正例"),
    "score limit": ("no negative above .95 of the positive's score", "负例分数不超过正例的 0.95"),
    "near-duplicates refused": ("no near-duplicates of relevant documents", "拒绝与相关文档近重的负例"),
    "second round": ("mined again with the tuned model (`round2`)", "用微调后的模型再挖一轮（`round2`）"),
}
UNTRAINED = {
    "base": ("base model", "基础模型"),
    "bm25": ("BM25 alone", "仅 BM25"),
}


def retrieval_table(chinese: bool) -> str:
    """What each choice gives, alone and fused with BM25, for each data set."""
    rows = []
    for data, ways in read_result("retrieval")["results"].items():
        shipped = ways["bm25"]
        title = RUNS[data][chinese]
        for system, names in UNTRAINED.items():
            rows.append([title, names[chinese], "", *_measures(shipped[system]), "", ""])
            title = ""
        for way in (name for name in WAYS if name in ways):
            run = ways[way]
            right = "" if run["right"] is None else f"{run['right']:.0%}"
            rows.append(["", WAYS[way][chinese], right, *_measures(run["tuned"]), *_measures(run["hybrid_scores"])])
    head = (
        ["数据", "做法", "正例正确", "Recall@10", "NDCG@10", "与 BM25 融合 Recall@10", "NDCG@10"]
        if chinese
        else ["data", "what", "positives right", "Recall@10", "NDCG@10", "with BM25: Recall@10", "NDCG@10"]
    )
    return table(head, rows)


def _measures(values: dict[str, float]) -> list[str]:
    return [f"{values[measure]:.3f}" for measure in ("recall@10", "ndcg@10")]


def indexes_table(chinese: bool) -> str:
    """Each kind of index against exact search."""
    rows = []
    for kind, figures in read_result("indexes")["kinds"].items():
        factory, _, search = kind.partition(", ")
        rows.append(
            [
                f"`{factory}`",
                f"`{search}`" if search else "",
                f"{figures['recall']:.3f}",
                f"{figures['times_as_fast']:.1f}",
                f"{figures['build_seconds']:.0f}",
                f"{figures['bytes'] / 1e9:.2f}",
            ]
        )
    head = (
        ["`index.factory`", "`evaluate.index_search`", "召回率@10", "速度（倍）", "建索引秒数", "大小（GB）"]
        if chinese
        else [
            "`index.factory`",
            "`evaluate.index_search`",
            "recall@10",
            "times as fast",
            "seconds to build",
            "size, GB",
        ]
    )
    return table(head, rows)
