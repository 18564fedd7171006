"""Parts of prompt evolution: population, ratings, selection, operators, reflection."""
