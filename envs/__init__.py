"""Worlds: text environments registered with Gymnasium. They know nothing of language models."""

from envs.catalogue import describe, make, names, register, resolve
from envs.errors import UnknownWorld, WorldError
from envs.verdict import Verdict
from envs.world import Description, Problem, Split, World

__all__ = [
    "Description",
    "Problem",
    "Split",
    "UnknownWorld",
    "Verdict",
    "World",
    "WorldError",
    "describe",
    "make",
    "names",
    "register",
    "resolve",
]

register()
