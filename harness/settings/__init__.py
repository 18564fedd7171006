"""The configuration of a run: typed sections, built once and passed whole."""
