"""Checks that an environment keeps the rules that numbers depend on."""
