"""From the name of an environment to the class that makes it.

A name is an alias; a family and its member (`reasoning_gym/gcd`); `jsonl:PATH`, `verifiers:NAME` or
`openenv:URL`; an entry point of the group `espl_harness.envs`; any Gymnasium id, also one that an
installed package declares in the group `gymnasium.envs`; or `module:Namespace/Name-v0`, whose
module is imported first.
"""

import inspect
import re
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator

from envs.errors import UnknownEnv, did_you_mean
from envs.guarded_calls import MAKE_SECONDS, guarded
from envs.gymnasium_packages import import_module, load_plugins, plugins, registered_by
from envs.known_envs import ALIASES, FAMILIES, SCHEMES, Family

GROUP = "espl_harness.envs"
"""Entry points of this group name a TextEnv class, or the Gymnasium id of any environment."""
OLD_GROUP = "espl_harness.worlds"
"""The group's name before; still read."""

# A class with one of these means to be a text environment; `briefing` is the old name of the first.
_TEXT_ENV_MEMBERS = ("system_prompt", "briefing", "fingerprint")
_MEMBER = re.compile(r"[\w.-]+")


@dataclass(frozen=True, slots=True)
class ResolvedEnv:
    """The meaning of a name: a Gymnasium id, its creator, and the options in the name."""

    id: str
    spec: EnvSpec
    creator: Any
    name_options: Mapping[str, object]

    @property
    def is_text_env(self) -> bool:
        """True where it is used as it is; otherwise it gets an adapter."""
        if isinstance(self.creator, type):
            return any(hasattr(self.creator, member) for member in _TEXT_ENV_MEMBERS)
        return "split" in constructor_options(self.creator, hidden=())


def entry_point_envs() -> Mapping[str, EntryPoint]:
    """Environments of installed packages by name; a name of this package cannot be taken over."""
    # The path is the cache's key: a folder that is added to it may bring further packages.
    return _entry_point_envs(tuple(sys.path))


@cache
def _entry_point_envs(path: tuple[str, ...]) -> Mapping[str, EntryPoint]:
    taken = {*ALIASES, *FAMILIES}
    found = (*entry_points(group=OLD_GROUP), *entry_points(group=GROUP))  # the new group wins
    return {e.name: e for e in found if e.name not in taken}


def members(family: str) -> tuple[str, ...]:
    """The names of a family's environments.

    Raises:
        UnknownEnv: There is no such family.
        ExtraMissing: Its package is not installed.
    """
    if family not in FAMILIES:
        raise UnknownEnv(f"There is no family '{family}'. {did_you_mean(family, FAMILIES)}")
    list_members: Any = load_env_creator(FAMILIES[family].members)
    return tuple(f"{family}/{member}" for member in list_members())


def find(name: str) -> ResolvedEnv:
    """The environment of a name; raises UnknownEnv with a suggestion and a list of what exists."""
    scheme, colon, location = name.partition(":")
    if colon and scheme in SCHEMES:
        env_id, option = SCHEMES[scheme]
        return _load(env_id, {option: location})
    prefix, slash, member = name.partition("/")
    if prefix in FAMILIES:
        return _find_member(prefix, member if slash else "")
    try:
        env_id = ALIASES.get(name) or _registered_id(name)
        return _load(env_id, {})
    except gymnasium.error.DependencyNotInstalled as error:
        raise UnknownEnv(
            f"'{name}' needs a package that is not installed: {first_line(error)}"
        ) from error
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        known = [*ALIASES, *entry_point_envs(), *(f"{prefix}/…" for prefix in FAMILIES)]
        raise UnknownEnv(
            f"There is no environment '{name}'. {did_you_mean(name, known)} Any Gymnasium id, or"
            f" module:Namespace/Name-v0, will do too ({first_line(error)})."
        ) from error


def _load(env_id: str, name_options: Mapping[str, object]) -> ResolvedEnv:
    module, _, registered = env_id.rpartition(":")
    if not module:
        load_plugins(plugins(registered))
        module = registered_by(registered)
    if module:
        import_module(module)
    spec = gymnasium.spec(registered)
    entry_point = spec.entry_point
    if isinstance(entry_point, str):
        import_module(entry_point.partition(":")[0])
        creator: Any = guarded(registered, MAKE_SECONDS, load_env_creator, entry_point)
    else:
        creator = entry_point
    if creator is None:
        raise UnknownEnv(f"'{env_id}' is registered for gymnasium.make_vec alone.")
    return ResolvedEnv(env_id, spec, creator, name_options)


def _find_member(prefix: str, member: str) -> ResolvedEnv:
    family = FAMILIES[prefix]
    # The id with its version is accepted as a name too.
    member = member.removesuffix(f"-v{family.version}")
    env_id = f"{prefix}/{member}-v{family.version}"
    if env_id not in gymnasium.registry:
        known = members(prefix)
        if f"{prefix}/{member}" not in known or not _MEMBER.fullmatch(member):
            reason = _refusal(family, member) if member else "Name one of a family:"
            raise UnknownEnv(
                f"{reason} {did_you_mean(f'{prefix}/{member}', known)} 'harness env list {prefix}'"
                " describes them."
            )
        kwargs = {family.option: member}
        gymnasium.register(id=env_id, entry_point=family.entry_point, kwargs=kwargs)
    return _load(env_id, {family.option: member})


def _refusal(family: Family, member: str) -> str:
    """The message of the family's class for a member that is not listed."""
    try:
        load_env_creator(family.entry_point)(**{family.option: member})
    except UnknownEnv as error:
        return str(error)
    return f"{member} is not listed."


def _registered_id(name: str) -> str:
    """The id of an entry point's environment, registered at first use; other names as they are."""
    entry = entry_point_envs().get(name)
    if entry is None:
        return name
    if entry.group == OLD_GROUP:
        old = f"entry point '{name}': the group {OLD_GROUP} is now {GROUP}"
        warnings.warn(old, DeprecationWarning, stacklevel=2)
    loaded = _loaded(name, entry)
    if isinstance(loaded, str):
        return loaded
    # The old group stands here on purpose: ids of published results must not change.
    owner = re.sub(r"[^\w-]", "-", entry.dist.name if entry.dist else OLD_GROUP)
    env_id = f"{owner}/{name.replace('/', '-')}-v{getattr(loaded, 'version', 0)}"
    if env_id not in gymnasium.registry:
        gymnasium.register(id=env_id, entry_point=loaded)
    return env_id


def _loaded(name: str, entry: EntryPoint) -> Any:
    """What an entry point names; raises UnknownEnv with a sentence where it cannot be loaded."""
    import_module(entry.module)
    try:
        return guarded(name, MAKE_SECONDS, entry.load)
    except AttributeError as error:
        raise UnknownEnv(f"The entry point '{name}' is wrong: {first_line(error)}.") from error


def constructor_options(creator: Any, hidden: tuple[str, ...]) -> Mapping[str, object]:
    """Every keyword of a class with its default, and its parents' where it passes them on."""
    found: dict[str, object] = {}
    for cls in getattr(creator, "__mro__", (creator,)):
        parameters = () if cls is object else inspect.signature(cls).parameters.values()
        for p in parameters:
            if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
                found.setdefault(p.name, p.default)
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    return {key: value for key, value in found.items() if key not in ("self", *hidden)}


def first_line(text: object) -> str:
    """The first line of a text; "" where it is empty."""
    return (str(text).strip().splitlines() or [""])[0]
