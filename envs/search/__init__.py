"""Environments with a search tool: the corpus, its index, the tool, the questions."""
