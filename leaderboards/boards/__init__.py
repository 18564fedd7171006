"""Leaderboards: rows from entries, comparison, publishing, output."""
