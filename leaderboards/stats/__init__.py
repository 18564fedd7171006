"""Statistics: intervals, paired tests, power, rank intervals."""
