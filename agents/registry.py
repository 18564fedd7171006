"""Methods by name. A built-in's module is imported when it is asked for; other distributions add
theirs through the entry-point group `espl_harness.methods`, each naming a `Spec`; `module:SPEC`
names the Spec of a module that can be imported, such as a file in the current folder.
"""

import inspect
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from agents.context import MethodContext, MethodSpec
from harness.errors import UsageError, unknown
from harness.method import Method
from harness.policies.base import Sampling

GROUP = "espl_harness.methods"

METHODS = {
    "base": "agents.base:SPEC",
    "rl": "agents.rl:SPEC",
    "reflection": "agents.reflection:SPEC",
    "evolution": "agents.evolution:SPEC",
    "espl": "agents.espl:SPEC",
    "gepa": "agents.gepa:SPEC",
    "inspo": "agents.inspo:SPEC",
    "fst": "agents.fst:SPEC",
    "p2o": "agents.p2o:SPEC",
}
"""The built-in methods, in the order a newcomer meets them."""


def _others() -> dict[str, EntryPoint]:
    return {e.name: e for e in entry_points(group=GROUP) if e.name not in METHODS}


def names() -> tuple[str, ...]:
    """Every method there is: the built-in ones, then those of other distributions."""
    return (*METHODS, *sorted(_others()))


def spec(name: str) -> MethodSpec:
    """The method of that name; a name that does not exist, or is no method, is a usage error.

    A built-in name cannot be taken over by another distribution.
    """
    if name in METHODS:
        module, _, attribute = METHODS[name].partition(":")
        found: object = getattr(import_module(module), attribute)
    elif ":" in name:
        found = _named(name)
    elif name in (others := _others()):
        found = others[name].load()
    else:
        raise unknown("method", name, names())
    if not isinstance(found, MethodSpec):
        raise UsageError(
            f"Method '{name}' is {type(found).__name__}, but should be an "
            "agents.context.MethodSpec; see agents/rl.py for one."
        )
    return found


def _named(name: str) -> object:
    """What `module:ATTRIBUTE` names; nothing after the colon means SPEC."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(import_module(module), attribute or "SPEC")
    except ModuleNotFoundError as reason:
        if reason.name != module:
            raise  # the module is there, and imports something that is not
        raise UsageError(
            f"There is no module '{module}' for the method '{name}'; go to the folder it lies in, "
            "or install it."
        ) from reason
    except AttributeError as reason:
        raise UsageError(
            f"The module '{module}' has no '{attribute or 'SPEC'}' for the method '{name}'; end it "
            "with SPEC = Spec(Config, Method, trains=False)."
        ) from reason


def config_type(name: str) -> type[Any]:
    """The frozen dataclass of a method's settings."""
    return spec(name).config


def trains_weights(name: str) -> bool:
    """Whether the method needs a policy whose weights can be updated."""
    return spec(name).trains


def describe(name: str) -> str:
    """One sentence about a method."""
    return (inspect.getdoc(spec(name).build) or "").partition("\n")[0]


def card(name: str, config: object, acting: Sampling | None = None) -> tuple[str, ...]:
    """What a method's loss comes to, a line each; nothing for a method that trains no weights."""
    told = spec(name).card
    return () if told is None else tuple(told(config, acting or Sampling()))


def make(name: str, config: object, inputs: MethodContext) -> Method:
    """The method, ready for its first round; `config` is of `config_type(name)`."""
    chosen = spec(name)
    if not isinstance(config, chosen.config):
        raise UsageError(
            f"Method '{name}' takes a {chosen.config.__name__}, got a {type(config).__name__}; "
            f"build it with agents.config_type('{name}')(...)."
        )
    return chosen.build(config, inputs)
