"""Runs as tasks of an existing Ray cluster."""
