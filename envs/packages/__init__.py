"""Worlds of packages that are installed on request, scored in processes that can be killed."""
