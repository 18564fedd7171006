"""Every causal architecture that transformers knows, as a tiny random checkpoint, against
transformers itself: `python -m benchmarks.models`.
"""
