"""Tinker and servers that speak its protocol."""
