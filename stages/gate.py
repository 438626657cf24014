"""gate: judge the released system against its baseline by the rules of params.yaml's section gate."""

from embedtune.comparison.gate import Rule, failures, judge
from embedtune.comparison.significance import Resampling
from embedtune.comparison.words import caveat
from embedtune.config import paths
from embedtune.config.places import located_rules
from embedtune.core import cli, json_files
from embedtune.evaluation.per_query import read_scores, read_slices
from embedtune.evaluation.results import PER_QUERY
from stages.running import run, stage_params


def main() -> None:
    """Write metrics/gate.json."""
    params = stage_params()
    names = (params.release.system, params.release.baseline)
    system, baseline = (read_scores(paths.run(name) / PER_QUERY) for name in names)
    resampling = Resampling(params.compare.confidence, params.compare.resamples, params.compare.seed)
    rules = {name: Rule(rule.min_gain, rule.confidence) for name, rule in params.gate.items()}
    choice = json_files.read_json(paths.CHOICE)
    split = params.evaluate.split
    found = judge(rules, choice, system, baseline, read_slices(paths.SLICES), resampling, split)
    json_files.write_json(paths.VERDICT, found)
    reasons = [] if found["passed"] else [found["choice"], *located_rules(failures(found))]
    warning = [f"evaluate.split: {split}: {caveat(split)}"] if caveat(split) else []
    cli.say("\n  ".join([f"gate: {'open' if found['passed'] else 'shut'} ({paths.VERDICT})", *reasons, *warning]))


if __name__ == "__main__":
    run(main)
