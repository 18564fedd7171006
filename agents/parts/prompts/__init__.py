"""Prompt evolution: population, ratings, selection, operators, reflection."""
