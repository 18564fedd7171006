"""The registry of environments: lists them, describes them, and makes one from its name.

What is no `TextEnv` gets an adapter. `envs.resolution` says which names there are.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import gymnasium
from gymnasium.envs.registration import load_env_creator

from envs.adapters import gymnasium_env
from envs.adapters.guarded_text_env import guard
from envs.errors import EnvError, UnknownEnv, UnknownOption, did_you_mean, option_key
from envs.guarded_calls import MAKE_SECONDS, guarded
from envs.known_envs import ALIASES, ENTRY_POINTS, FAMILIES, PATH_OPTIONS, SCHEMES
from envs.resolution import (
    ResolvedEnv,
    constructor_options,
    entry_point_envs,
    find,
    first_line,
)
from envs.text_env import EnvDescription, Split, TextEnv

_REQUIRED = ("system_prompt", "size", "fingerprint", "reset", "step")


def register() -> None:
    """Register the environments of this package with Gymnasium; a second call changes nothing."""
    for env_id, entry_point in ENTRY_POINTS.items():
        if env_id not in gymnasium.registry:
            gymnasium.register(id=env_id, entry_point=entry_point)


def names() -> tuple[str, ...]:
    """The short names: those of this package, then those of installed packages."""
    return (*sorted(ALIASES), *sorted(entry_point_envs()))


def resolve(name: str) -> str:
    """The Gymnasium id of an environment; raises UnknownEnv with a suggestion and a list."""
    return find(name).id


def make(name: str, split: Split = "train", **options: Any) -> TextEnv:
    """An environment, without wrappers: the harness counts turns and checks order itself.

    An option that is None is left out.

    Raises:
        UnknownEnv: There is no such environment, or it cannot be used as text.
        UnknownOption: It does not take an option, or not that value.
        EnvDataError: Its data is missing, unreadable or not what was pinned.
    """
    found = find(name)
    options = {key: value for key, value in options.items() if value is not None}
    if not found.is_text_env:
        _checked_options(name, found, options)
        return cast(TextEnv, gymnasium_env.adapt(found.id, split, options))
    if isinstance(found.creator, type):
        _require_members(name, found.creator)
    options = _checked_options(name, found, options)
    in_name = {k: v for k, v in found.name_options.items() if k not in found.spec.kwargs}
    in_name |= {"split": split, "disable_env_checker": True}
    creator_module = str(getattr(found.creator, "__module__", ""))
    ours = creator_module.partition(".")[0] == __name__.partition(".")[0]
    make_env: Any = gymnasium.make
    try:
        if ours:
            env: Any = make_env(found.id, **in_name, **options).unwrapped
        else:
            env = guarded(name, MAKE_SECONDS, make_env, found.id, **in_name, **options).unwrapped
            guard(name, env)
    except EnvError:
        raise
    except Exception as error:
        # A keyword passed on to a parent that does not take it.
        if isinstance(error, TypeError) and "unexpected keyword argument" in str(error):
            raise UnknownOption(f"Environment '{name}' takes no such option: {error}") from error
        if ours:
            raise
        said = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        raise UnknownEnv(f"'{name}' cannot be made: {said}") from error
    _require_members(name, env)
    if not hasattr(env, "system_prompt"):
        env.system_prompt = env.briefing  # its old name
    if found.spec.max_episode_steps is not None or found.spec.additional_wrappers:
        raise UnknownEnv(
            f"'{name}' is registered with wrappers or max_episode_steps, which are not applied to"
            " text environments; put them into the environment itself."
        )
    return cast(TextEnv, env)


def describe(name: str) -> EnvDescription:
    """The summary, splits, files and options of an environment, without loading its data."""
    found = find(name)
    creator = found.creator
    known = isinstance(creator, type) and issubclass(creator, TextEnv)
    source = creator if found.is_text_env else gymnasium_env.GymnasiumTextEnv
    return EnvDescription(
        name=name,
        id=found.id,
        summary=_member_summary(name) or first_line(inspect.getdoc(creator) or ""),
        sizes=creator.sizes() if known else {},
        files=creator.files() if known else (),
        options=tuple(options(name)),
        reply_tokens=int(getattr(source, "reply_tokens", 0)),
        redistributable=bool(getattr(source, "redistributable", False)),
    )


def _member_summary(name: str) -> str:
    """A line on one member of a family; "" where the family has none for each."""
    family, _, member = name.partition("/")
    lines = FAMILIES[family].summaries if family in FAMILIES else ""
    if not lines:
        return ""
    load: Any = load_env_creator(lines)
    return str(load().get(member.removesuffix(f"-v{FAMILIES[family].version}"), ""))


def options(name: str) -> Mapping[str, object]:
    """The options of an environment with their defaults; `inspect.Parameter.empty`: required."""
    found = find(name)
    accepted = constructor_options(found.creator, hidden=("split", *found.name_options))
    if found.is_text_env:
        return accepted
    passed_on = {key: value for key, value in accepted.items() if key != "render_mode"}
    # What an id was registered with comes before the class's own default.
    registered = {key: found.spec.kwargs.get(key, value) for key, value in passed_on.items()}
    return {**gymnasium_env.OPTIONS, **registered}


@dataclass(frozen=True, slots=True)
class BuiltInEnv:
    """An environment of this package, or all those of one class, as `jsonl:PATH`.

    `prefix` is the beginning of their names, "" for a single environment. `options` have their
    defaults, as `options` returns them.
    """

    name: str
    prefix: str
    creator: type[Any]
    options: Mapping[str, object]


def built_in() -> tuple[BuiltInEnv, ...]:
    """Every environment of this package, also where the package that it wraps is not installed."""
    found = [("", name, ENTRY_POINTS[env_id], "") for name, env_id in ALIASES.items()]
    found += [(f"{kind}:", "", ENTRY_POINTS[i], option) for kind, (i, option) in SCHEMES.items()]
    found += [(f"{kind}/", "", one.entry_point, one.option) for kind, one in FAMILIES.items()]
    described = []
    for prefix, name, entry_point, option in found:
        creator: Any = load_env_creator(entry_point)
        accepted = constructor_options(creator, hidden=("split", option))
        described.append(BuiltInEnv(name or prefix + option.upper(), prefix, creator, accepted))
    return tuple(described)


def path_options(name: str) -> tuple[str, ...]:
    """The options that name files or folders.

    A class of another package lists its own in the attribute `path_options`.
    """
    found = find(name)
    return PATH_OPTIONS.get(found.id) or tuple(getattr(found.creator, "path_options", ()))


def _require_members(name: str, env: object) -> None:
    missing = [member for member in _REQUIRED if not hasattr(env, member)]
    if "system_prompt" in missing and hasattr(env, "briefing"):  # the attribute's old name
        missing.remove("system_prompt")
    if missing:
        raise UnknownEnv(
            f"'{name}' is a Gymnasium environment but not a text environment: it lacks"
            f" {', '.join(missing)}. Derive it from envs.TextEnv."
        )


def _checked_options(name: str, found: ResolvedEnv, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options, with whole numbers turned into fractions where those are meant."""
    accepted = options(name)
    parameters = inspect.signature(found.creator).parameters.values()
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)  # it refuses by itself
    unknown = [] if open_ended else sorted(set(given) - set(accepted))
    if unknown:
        listed = did_you_mean(unknown[0], accepted) if accepted else "It takes none."
        raise UnknownOption(f"Environment '{name}' has no option '{unknown[0]}'. {listed}")
    required = inspect.Parameter.empty
    missing = [key for key, value in accepted.items() if value is required and key not in given]
    if missing and found.is_text_env:
        raise UnknownOption(
            f"Environment '{name}' needs the option '{missing[0]}'; write"
            f" --set {option_key(missing[0])}=…"
        )
    return {key: _checked(name, key, value, accepted.get(key)) for key, value in given.items()}


def _checked(name: str, key: str, value: Any, default: object) -> Any:
    kind = type(default)
    if kind is float and type(value) is int:
        return float(value)
    if kind in (bool, int, float, str) and type(value) is not kind:
        raise UnknownOption(
            f"Environment '{name}' takes a value of type {kind.__name__} for '{key}', not"
            f" {value!r}; its default is {default!r}."
        )
    return value
