"""The history of a run: its settings, the machines it ran on, and what its entry tells of it."""
