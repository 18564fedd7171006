"""Methods: one file each, on the parts they share.

Read `espl.py` first, then its halves `evolution.py` and `rl.py`, then `parts/`. A method answers
two questions, who plays next and what was learnt; it plays nothing itself and keeps no clock.
"""

from agents.inputs import Inputs, Spec
from agents.registry import METHODS, card, config_type, describe, make, names, spec, trains_weights

__all__ = [
    "METHODS",
    "Inputs",
    "Spec",
    "card",
    "config_type",
    "describe",
    "make",
    "names",
    "spec",
    "trains_weights",
]
