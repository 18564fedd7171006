"""Analyses of finished runs, calibration, and planning of new runs."""
