"""Games of the textarena package."""
