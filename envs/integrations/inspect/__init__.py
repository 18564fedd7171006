"""Tasks of inspect_ai, run by an interpreter of their own."""
