"""The summary of a run in ten figures, for reading runs side by side (`dvc metrics diff`, `dvc exp show`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embedtune.evaluation.per_query import shown_measure


def run_summary(
    comparison: Mapping[str, Any],
    verdict: Mapping[str, Any],
    system: Mapping[str, float],
    baseline: Mapping[str, float],
    measures: Sequence[str],
) -> dict[str, Any]:
    """{released, gate, dev_<measure>, <measure>, baseline_<measure>, gain_low, gain_high}.

    `comparison` is that of comparison.py, `verdict` that of gate.py; `system` and `baseline` are the measures of the
    two systems that it judged, those of dev under dev_<measure> (absent without dev questions). The gain's interval is
    that of the measure that is shown where there is room for one.
    """
    gain = comparison["pairs"][f"{verdict['system']}_over_{verdict['baseline']}"][shown_measure(list(measures))]
    return {
        "released": verdict["chosen"],
        "gate": "open" if verdict["passed"] else "shut",
        **{f"dev_{measure}": system[f"dev_{measure}"] for measure in measures if f"dev_{measure}" in system},
        **{measure: system[measure] for measure in measures},
        **{f"baseline_{measure}": baseline[measure] for measure in measures},
        "gain_low": gain["low"],
        "gain_high": gain["high"],
    }
