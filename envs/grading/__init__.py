"""Grading of answers: mathematics in worker processes, short answers by name."""
