"""The report of a run: an HTML page and a Markdown summary."""
