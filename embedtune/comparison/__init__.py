"""Compare retrieval systems: intervals, significance tests, release gate, score calibration, report, model card."""
