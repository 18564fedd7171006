"""The harness: what every method, world and row shares."""
