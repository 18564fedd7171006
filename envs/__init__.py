"""Worlds: text environments registered with Gymnasium. They know nothing of language models."""
