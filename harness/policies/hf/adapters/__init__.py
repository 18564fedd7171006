"""Adapters: where they are injected, what they cover, and experts with them merged in."""
