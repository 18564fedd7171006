"""Text adventures of the textworld package."""
