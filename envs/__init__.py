"""Text environments registered with Gymnasium. They know nothing of language models."""

import warnings

from envs.errors import EnvError, UnknownEnv
from envs.registry import describe, make, names, register, resolve
from envs.text_env import EnvDescription, Problem, Split, TextEnv
from envs.verdict import Verdict

__distribution__ = "espl-harness"  # harness.system.import_guard looks for it

__all__ = [
    "EnvDescription",
    "EnvError",
    "Problem",
    "Split",
    "TextEnv",
    "UnknownEnv",
    "Verdict",
    "describe",
    "make",
    "names",
    "register",
    "resolve",
]

_OLD_NAMES = {
    "Description": "EnvDescription",
    "UnknownWorld": "UnknownEnv",
    "World": "TextEnv",
    "WorldError": "EnvError",
}


def __getattr__(name: str) -> object:
    """Old spellings of public names, read for this version with a warning that names the new one.

    Raises:
        AttributeError: There is no such name.
    """
    if name not in _OLD_NAMES:
        raise AttributeError(f"module 'envs' has no attribute {name!r}")
    new = _OLD_NAMES[name]
    warnings.warn(f"envs.{name} is now envs.{new}", DeprecationWarning, stacklevel=2)
    return globals()[new]


register()
