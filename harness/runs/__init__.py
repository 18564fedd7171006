"""Runs: build one from a request, execute it, and write its entry. The library under the CLI."""
