"""Parts of other packages that the name and options of an environment would open.

Names come in published files of unknown authors. A module, once imported, may do anything; a model
is downloaded; a file may be a device that never ends. So callers check here before they open one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import gymnasium

from envs.errors import UnknownEnv
from envs.gymnasium_packages import plugins, registered_by
from envs.known_envs import ALIASES, FAMILIES, PATH_OPTIONS, SCHEMES
from envs.resolution import entry_point_envs

_OURS = "envs"
# Gymnasium's own environments whose options are numbers and words: its others read files, or open
# by an option what another package registers.
_PLAIN = ("box2d", "classic_control", "phys2d", "tabular", "toy_text")
_KNOWN = (f"{_OURS}.", *(f"gymnasium.envs.{part}." for part in _PLAIN))


@dataclass(frozen=True, slots=True)
class UntrustedPart:
    """One thing that would be opened: a module, model or file, and its name."""

    kind: str
    name: str

    def allowed(self, trusted: Iterable[str]) -> bool:
        """True where it was named as trusted; a package includes its modules."""
        package = self.kind == "module"
        return any(self.name == t or (package and self.name.startswith(f"{t}.")) for t in trusted)


def untrusted_env(name: str) -> UntrustedPart | None:
    """The module of an environment, unless it comes with this package; imports nothing."""
    kind, colon, _ = name.partition(":")
    if (colon and kind in SCHEMES) or name.partition("/")[0] in FAMILIES or name in ALIASES:
        return None
    entry = entry_point_envs().get(name)
    if entry is not None:
        return UntrustedPart("module", entry.value.partition(":")[0])
    if module := name.rpartition(":")[0]:
        return UntrustedPart("module", module)
    if found := plugins(name):
        return UntrustedPart("module", found[0].module)
    if module := _registering_module(name):
        return UntrustedPart("module", module)
    spec = gymnasium.registry.get(name)
    if spec is None:
        return None  # there is no such world, as whoever makes it will say
    point = spec.entry_point
    module = point.partition(":")[0] if isinstance(point, str) else getattr(point, "__module__", "")
    return None if f"{module}.".startswith(_KNOWN) else UntrustedPart("module", module)


def _registering_module(name: str) -> str:
    try:
        return registered_by(name)
    except UnknownEnv:  # it is not installed, so nothing of it can be opened
        return ""


def untrusted_parts(name: str, options: Mapping[str, object]) -> tuple[UntrustedPart, ...]:
    """All that an environment and its options would open, without opening any of it.

    Whatever else an untrusted module does with its options is part of trusting that module.
    """
    env = untrusted_env(name)
    found = [] if env is None else [env]
    if wrapper := str(options.get("wrapper") or ""):
        found.append(UntrustedPart("module", wrapper.partition(":")[0]))
    if env is None:
        retriever = str(options.get("retriever") or "bm25")
        found += [UntrustedPart("model", retriever)] if retriever != "bm25" else []
        kind, colon, place = name.partition(":")
        env_id, option = (
            SCHEMES[kind] if colon and kind in SCHEMES else (ALIASES.get(name, name), "")
        )
        given = {**options, option: place}
        paths = [str(given.get(option) or "") for option in PATH_OPTIONS.get(env_id, ())]
        if "reasoning_gym" in name:  # its generators take options of their own, some of them files
            paths += [str(value) for value in options.values() if isinstance(value, str)]
        found += [UntrustedPart("file", path) for path in paths if not _is_plain_name(path)]
    return tuple(found)


def _is_plain_name(path: str) -> bool:
    """True for a plain name of the current folder, as published results name files."""
    return not ("/" in path or "\\" in path or path.startswith((".", "~")))
