"""Positive passages and hard negatives for each training query."""
