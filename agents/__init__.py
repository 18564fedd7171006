"""Methods: one file each, on the parts they share.

Read `espl.py` first, then its halves `evolution.py` and `rl.py`, then `parts/`. A method answers
two questions, who plays next and what was learnt; it plays nothing itself and keeps no clock.
"""

import warnings

from agents.context import MethodContext, MethodSpec
from agents.registry import METHODS, card, config_type, describe, make, names, spec, trains_weights

__distribution__ = "espl-harness"  # harness.system.import_guard looks for it

__all__ = [
    "METHODS",
    "MethodContext",
    "MethodSpec",
    "card",
    "config_type",
    "describe",
    "make",
    "names",
    "spec",
    "trains_weights",
]

_OLD_NAMES = {"Inputs": "MethodContext", "Spec": "MethodSpec"}


def __getattr__(name: str) -> object:
    """Old spellings of public names, read for this version with a warning that names the new one.

    Raises:
        AttributeError: There is no such name.
    """
    if name not in _OLD_NAMES:
        raise AttributeError(f"module 'agents' has no attribute {name!r}")
    new = _OLD_NAMES[name]
    warnings.warn(f"agents.{name} is now agents.{new}", DeprecationWarning, stacklevel=2)
    return globals()[new]
