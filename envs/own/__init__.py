"""Worlds of one's own: files of questions, any Gymnasium environment in words, and the checks."""
