"""Methods of improving an agent, one file each, built from shared parts.

Read `espl.py` first, then its halves `evolution.py` and `rl.py`, then `parts/`. A method chooses
the rollouts of a round (`assign`) and learns from them (`learn`). It samples no episode itself:
the harness does, with the same budget for every method.
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
    """Old public names, read for this version with a warning that names the new one.

    Raises:
        AttributeError: There is no such name.
    """
    if name not in _OLD_NAMES:
        raise AttributeError(f"module 'agents' has no attribute {name!r}")
    new = _OLD_NAMES[name]
    warnings.warn(f"agents.{name} is now agents.{new}", DeprecationWarning, stacklevel=2)
    return globals()[new]
