"""metrics/report.html and report.md: what a run found, to look at."""
