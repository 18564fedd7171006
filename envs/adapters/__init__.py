"""Adapters that turn any Gymnasium environment into a text environment."""
