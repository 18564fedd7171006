"""Registry of methods by name.

A built-in method's module is imported when it is used. Other distributions add methods through the
entry-point group `espl_harness.methods`, each naming a `MethodSpec`. `module:SPEC` names one in any
module that can be imported, such as a file in the current folder.
"""

import inspect
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from agents.context import MethodContext, MethodSpec
from harness.errors import UsageError, unknown
from harness.method import Method, with_current_names
from harness.policies.base import Sampling

GROUP = "espl_harness.methods"

METHODS = {
    "base": "agents.base:SPEC",
    "rl": "agents.rl:SPEC",
    "reflection": "agents.reflection:SPEC",
    "evolution": "agents.evolution:SPEC",
    "espl": "agents.espl:SPEC",
    "espl_duel": "agents.espl_duel:SPEC",
    "gepa": "agents.gepa:SPEC",
    "inspo": "agents.inspo:SPEC",
    "fst": "agents.fst:SPEC",
    "p2o": "agents.p2o:SPEC",
}
"""The built-in methods, baselines first."""


def _installed() -> dict[str, EntryPoint]:
    return {e.name: e for e in entry_points(group=GROUP) if e.name not in METHODS}


def names() -> tuple[str, ...]:
    """Names of all methods: built-in ones, then those of other distributions."""
    return (*METHODS, *sorted(_installed()))


def spec(name: str) -> MethodSpec:
    """The specification of the method of that name.

    Built-in names come first: another distribution cannot replace one.

    Raises:
        UsageError: There is no such method, or the name is of something else.
    """
    # Imported here, not at the top: listing the methods must not load what one of them needs.
    if name in METHODS:
        module, _, attribute = METHODS[name].partition(":")
        found: object = getattr(import_module(module), attribute)
    elif ":" in name:
        found = _named(name)
    elif name in (installed := _installed()):
        found = installed[name].load()
    else:
        raise unknown("method", name, names())
    if not isinstance(found, MethodSpec):
        raise UsageError(
            f"Method '{name}' is {type(found).__name__}, but should be an "
            "agents.context.MethodSpec; see agents/rl.py for one."
        )
    return found


def _named(name: str) -> object:
    """The object `module:ATTRIBUTE`; the attribute is SPEC if left out."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(import_module(module), attribute or "SPEC")
    except ModuleNotFoundError as reason:
        if reason.name != module:
            raise  # the module is there, and imports something that is not
        raise UsageError(
            f"There is no module '{module}' for the method '{name}'; change to the folder that "
            "contains it, or install it."
        ) from reason
    except AttributeError as reason:
        raise UsageError(
            f"The module '{module}' has no '{attribute or 'SPEC'}' for the method '{name}'; end it "
            "with SPEC = MethodSpec(Config, Method, trains=False)."
        ) from reason


def config_type(name: str) -> type[Any]:
    """The frozen dataclass of a method's settings."""
    return spec(name).config


def trains_weights(name: str) -> bool:
    """True if the method needs a policy whose weights can be updated."""
    return spec(name).trains


def describe(name: str) -> str:
    """One sentence about a method."""
    return (inspect.getdoc(spec(name).build) or "").partition("\n")[0]


def card(name: str, config: object, sampling: Sampling | None = None) -> tuple[str, ...]:
    """The description of a method's loss, line by line; empty if it trains no weights."""
    describe_loss = spec(name).card
    return () if describe_loss is None else tuple(describe_loss(config, sampling or Sampling()))


def make(name: str, config: object, context: MethodContext) -> Method:
    """The method, ready for its first round.

    Args:
        name: As on the command line: a built-in or installed name, or `module:SPEC`.
        config: An instance of `config_type(name)`.
        context: The initial prompt, policy and reflection model it may use.

    Raises:
        UsageError: The config is of another type, or the policy does not suit the method.
    """
    chosen = spec(name)
    if not isinstance(config, chosen.config):
        raise UsageError(
            f"Method '{name}' takes a {chosen.config.__name__}, got a {type(config).__name__}; "
            f"build it with agents.config_type('{name}')(...)."
        )
    return with_current_names(chosen.build(config, context))
