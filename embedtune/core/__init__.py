"""Utilities that every other package uses: errors, atomic files, locks, seeds, progress bars."""
