"""Programs for those who work on embedtune itself."""
