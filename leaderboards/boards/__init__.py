"""Leaderboards: rows from entries, comparison, publishing, rendering."""
