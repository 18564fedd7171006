"""Refuses models that could not be used rightly: by configuration, weights and comparison."""
