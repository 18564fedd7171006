"""Checks of methods, graders and this machine."""
