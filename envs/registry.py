"""The registry of environments: what exists, and how one is made from its name.

A name is an alias; a family and its member (`reasoning_gym/gcd`); `jsonl:PATH`, `verifiers:NAME` or
`openenv:URL`; an entry point of the group `espl_harness.worlds`; any Gymnasium id; or
`module:Namespace/World-v0`, whose module is imported first. What is no `TextEnv` gets an adapter.
"""

import importlib
import inspect
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator

from envs.adapters import gymnasium_env
from envs.errors import UnknownEnv, UnknownOption, did_you_mean
from envs.text_env import EnvDescription, Split, TextEnv

GROUP = "espl_harness.worlds"
"""Entry points of this group name a TextEnv class, or the Gymnasium id of any environment."""

ALIASES = {
    "aime25": "harness/AIME25-v1",
    "arithmetic": "harness/Arithmetic-v1",
    "beyond_aime": "harness/BeyondAIME-v1",
    "calibration/both": "harness/CalibrationBoth-v1",
    "calibration/neither": "harness/CalibrationNeither-v1",
    "calibration/shown": "harness/CalibrationShown-v1",
    "calibration/told": "harness/CalibrationTold-v1",
    "guess_number": "harness/GuessNumber-v1",
    "hmmt": "harness/HMMT-v1",
    "search": "harness/Search-v1",
    "search/fictional": "harness/SearchFictional-v1",
    "terminal": "harness/Terminal-v1",
    "twenty_questions": "harness/TwentyQuestions-v1",
}
_ENTRY_POINTS = {
    "harness/AIME25-v1": "envs.competition:AIME25",
    "harness/Arithmetic-v1": "envs.arithmetic:Arithmetic",
    "harness/BeyondAIME-v1": "envs.competition:BeyondAIME",
    "harness/CalibrationBoth-v1": "envs.calibration:Both",
    "harness/CalibrationNeither-v1": "envs.calibration:Neither",
    "harness/CalibrationShown-v1": "envs.calibration:Shown",
    "harness/CalibrationTold-v1": "envs.calibration:Told",
    "harness/GuessNumber-v1": "envs.games.guess_number:GuessNumber",
    "harness/HMMT-v1": "envs.competition:HMMT",
    "harness/JSONL-v1": "envs.jsonl:Questions",
    "harness/OpenEnv-v1": "envs.integrations.openenv:OpenEnv",
    "harness/Search-v1": "envs.search.world:SearchEnv",
    "harness/SearchFictional-v1": "envs.search.fictional:Fictional",
    "harness/Terminal-v1": "envs.terminal.world:Terminal",
    "harness/TwentyQuestions-v1": "envs.games.twenty_questions:TwentyQuestions",
    "harness/Verifiers-v1": "envs.integrations.verifiers:Verifiers",
}


@dataclass(frozen=True, slots=True)
class Family:
    """Environments of one class: the name's second part is its `option`; `members` lists them."""

    entry_point: str
    option: str
    members: str
    version: int = 1


FAMILIES = {
    "reasoning_gym": Family(
        "envs.integrations.reasoning_gym:ReasoningGym",
        "task",
        "envs.integrations.reasoning_gym:tasks",
    ),
    "textarena": Family(
        "envs.integrations.textarena:TextArena", "game", "envs.integrations.textarena:games"
    ),
    "textworld": Family(
        "envs.integrations.textworld:TextWorld", "level", "envs.integrations.textworld:levels"
    ),
}
PATH_OPTIONS = {
    "harness/JSONL-v1": ("path",),
    "harness/Search-v1": ("questions", "corpus"),
    "harness/Terminal-v1": ("tasks",),
}
WHEREABOUTS = {
    "jsonl": ("harness/JSONL-v1", "path"),
    "openenv": ("harness/OpenEnv-v1", "url"),
    "verifiers": ("harness/Verifiers-v1", "environment"),
}
"""Names of the form `KIND:PLACE`: the id, and the option that takes the place."""
_SHAPE = ("briefing", "size", "fingerprint", "reset", "step")
_TELLING = ("briefing", "fingerprint")  # whoever has one of these means to be a text world
_MEMBER = re.compile(r"[\w.-]+")


@dataclass(frozen=True, slots=True)
class ResolvedEnv:
    """What a name stands for: a Gymnasium id, what makes it, and the options in the name."""

    id: str
    spec: EnvSpec
    creator: Any
    given: Mapping[str, object]

    @property
    def is_text_world(self) -> bool:
        """Whether it is played as it is; else through the adapter."""
        if isinstance(self.creator, type):
            return any(hasattr(self.creator, part) for part in _TELLING)
        return "split" in options_and_defaults(self.creator, hidden=())


def register() -> None:
    """Tell Gymnasium about the worlds of this package; doing so twice changes nothing."""
    for world_id, entry_point in _ENTRY_POINTS.items():
        if world_id not in gymnasium.registry:
            gymnasium.register(id=world_id, entry_point=entry_point)


def names() -> tuple[str, ...]:
    """The short names: those of this package, then those that installed packages announce."""
    return (*sorted(ALIASES), *sorted(announced()))


def announced() -> Mapping[str, EntryPoint]:
    """Worlds of installed packages; a name of this package cannot be taken over."""
    return _announced(tuple(sys.path))


@cache
def _announced(path: tuple[str, ...]) -> Mapping[str, EntryPoint]:
    taken = {*ALIASES, *FAMILIES}
    return {e.name: e for e in entry_points(group=GROUP) if e.name not in taken}


def members(family: str) -> tuple[str, ...]:
    """The names of a family's worlds; raises UnknownWorld, or says which extra is missing."""
    if family not in FAMILIES:
        raise UnknownEnv(f"There is no family '{family}'. {did_you_mean(family, FAMILIES)}")
    listed: Any = load_env_creator(FAMILIES[family].members)
    return tuple(f"{family}/{member}" for member in listed())


def resolve(name: str) -> str:
    """The Gymnasium id of a world; raises UnknownWorld with a suggestion and what exists."""
    return find(name).id


def find(name: str) -> ResolvedEnv:
    """What a name stands for; raises UnknownWorld with a suggestion and what exists."""
    kind, colon, place = name.partition(":")
    if colon and kind in WHEREABOUTS:
        return _found(WHEREABOUTS[kind][0], {WHEREABOUTS[kind][1]: place})
    prefix, slash, member = name.partition("/")
    if prefix in FAMILIES:
        return _member(prefix, member if slash else "")
    try:
        world_id = ALIASES.get(name) or _other(name)
        return _found(world_id, {})
    except (gymnasium.error.Error, ModuleNotFoundError) as reason:
        known = [*ALIASES, *announced(), *(f"{prefix}/…" for prefix in FAMILIES)]
        raise UnknownEnv(
            f"There is no world '{name}'. {did_you_mean(name, known)} Any Gymnasium id, or"
            f" module:Namespace/World-v0, will do too ({_first_line(reason)})."
        ) from reason


def _found(world_id: str, given: Mapping[str, object]) -> ResolvedEnv:
    spec = _spec(world_id)
    entry_point = spec.entry_point
    creator = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    return ResolvedEnv(world_id, spec, creator, given)


def _spec(world_id: str) -> EnvSpec:
    module, _, registered = world_id.rpartition(":")
    if module:
        importlib.import_module(module)
    return gymnasium.spec(registered)


def _member(prefix: str, member: str) -> ResolvedEnv:
    family = FAMILIES[prefix]
    member = member.removesuffix(f"-v{family.version}")
    world_id = f"{prefix}/{member}-v{family.version}"
    if world_id not in gymnasium.registry:
        known = members(prefix)
        if f"{prefix}/{member}" not in known or not _MEMBER.fullmatch(member):
            said = _why_not(family, member) if member else "Name one of a family:"
            raise UnknownEnv(
                f"{said} {did_you_mean(f'{prefix}/{member}', known)} 'harness env list {prefix}'"
                " describes them."
            )
        kwargs = {family.option: member}
        gymnasium.register(id=world_id, entry_point=family.entry_point, kwargs=kwargs)
    return _found(world_id, {family.option: member})


def _why_not(family: Family, member: str) -> str:
    """What the family's class itself says to a member that it does not list."""
    try:
        load_env_creator(family.entry_point)(**{family.option: member})
    except UnknownEnv as reason:
        return str(reason)
    return f"{member} is not listed."


def _other(name: str) -> str:
    """The id of an announced world, registered when first asked for; other names as they are."""
    entry = announced().get(name)
    if entry is None:
        return name
    loaded = entry.load()
    if isinstance(loaded, str):
        return loaded
    owner = re.sub(r"[^\w-]", "-", entry.dist.name if entry.dist else GROUP)
    world_id = f"{owner}/{name.replace('/', '-')}-v{getattr(loaded, 'version', 0)}"
    if world_id not in gymnasium.registry:
        gymnasium.register(id=world_id, entry_point=loaded)
    return world_id


def make(name: str, split: Split = "train", **options: Any) -> TextEnv:
    """A world of that name, unwrapped: the harness counts turns and checks order itself.

    An option that is None is left out. Raises UnknownWorld where there is none or it cannot be
    played in text, UnknownOption for an option it does not take, and the world's own DataError.
    """
    found = find(name)
    options = {key: value for key, value in options.items() if value is not None}
    if not found.is_text_world:
        _refuse_unknown(name, found, options)
        return cast(TextEnv, gymnasium_env.adapt(found.id, split, options))
    if isinstance(found.creator, type):
        _refuse_misshapen(name, found.creator)
    options = _refuse_unknown(name, found, options)
    given: dict[str, Any] = {k: v for k, v in found.given.items() if k not in found.spec.kwargs}
    try:
        made = gymnasium.make(
            found.id, disable_env_checker=True, split=split, **given, **options
        ).unwrapped
    except TypeError as reason:  # a keyword passed on to a parent that does not take it
        if "unexpected keyword argument" not in str(reason):
            raise
        raise UnknownOption(f"World '{name}' takes no such option: {reason}") from reason
    _refuse_misshapen(name, made)
    if found.spec.max_episode_steps is not None or found.spec.additional_wrappers:
        raise UnknownEnv(
            f"'{name}' is registered with wrappers or max_episode_steps, which are not applied to"
            " text worlds; put them into the world itself."
        )
    return cast(TextEnv, made)


def describe(name: str) -> EnvDescription:
    """What a world is, its splits, files and options, without loading its data."""
    found = find(name)
    creator = found.creator
    known = isinstance(creator, type) and issubclass(creator, TextEnv)
    adapted = None if found.is_text_world else gymnasium_env.GymnasiumTextEnv
    return EnvDescription(
        name=name,
        id=found.id,
        summary=_first_line(inspect.getdoc(creator) or ""),
        sizes=creator.sizes() if known else {},
        files=creator.files() if known else (),
        options=tuple(options(name)),
        reply_tokens=int(getattr(adapted or creator, "reply_tokens", 0)),
        redistributable=bool(getattr(adapted or creator, "redistributable", False)),
    )


def options(name: str) -> Mapping[str, object]:
    """The options a world takes with their defaults; `inspect.Parameter.empty` where required."""
    found = find(name)
    taken = options_and_defaults(found.creator, hidden=("split", *found.given))
    if found.is_text_world:
        return taken
    own = {key: value for key, value in taken.items() if key != "render_mode"}
    return {**gymnasium_env.OPTIONS, **{k: found.spec.kwargs.get(k, v) for k, v in own.items()}}


def options_and_defaults(creator: Any, hidden: tuple[str, ...]) -> Mapping[str, object]:
    """Every keyword of a class with its default, its parents' where it passes them on."""
    found: dict[str, object] = {}
    for cls in getattr(creator, "__mro__", (creator,)):
        parameters = () if cls is object else inspect.signature(cls).parameters.values()
        for p in parameters:
            if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
                found.setdefault(p.name, p.default)
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    return {key: value for key, value in found.items() if key not in ("self", *hidden)}


def path_options(name: str) -> tuple[str, ...]:
    """Which options name files or folders; another package's class says so in `path_options`."""
    found = find(name)
    return PATH_OPTIONS.get(found.id) or tuple(getattr(found.creator, "path_options", ()))


def _refuse_misshapen(name: str, world: object) -> None:
    missing = [part for part in _SHAPE if not hasattr(world, part)]
    if missing:
        raise UnknownEnv(
            f"'{name}' is a Gymnasium environment but not a text world: it lacks"
            f" {', '.join(missing)}. Derive it from envs.TextEnv."
        )


def _refuse_unknown(name: str, found: ResolvedEnv, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options with whole numbers turned into fractions where those are meant."""
    taken = options(name)
    parameters = inspect.signature(found.creator).parameters.values()
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)  # it refuses by itself
    unknown = [] if open_ended else sorted(set(given) - set(taken))
    if unknown:
        listed = did_you_mean(unknown[0], taken) if taken else "It takes none."
        raise UnknownOption(f"World '{name}' has no option '{unknown[0]}'. {listed}")
    needed = inspect.Parameter.empty
    missing = [key for key, value in taken.items() if value is needed and key not in given]
    if missing and found.is_text_world:
        raise UnknownOption(
            f"World '{name}' needs the option '{missing[0]}'; write --set world.{missing[0]}=…"
        )
    return {key: _typed(name, key, value, taken.get(key)) for key, value in given.items()}


def _typed(name: str, key: str, value: Any, default: object) -> Any:
    kind = type(default)
    if kind is float and type(value) is int:
        return float(value)
    if kind in (bool, int, float, str) and type(value) is not kind:
        raise UnknownOption(
            f"World '{name}' takes a value of type {kind.__name__} for '{key}', not {value!r};"
            f" its default is {default!r}."
        )
    return value


def _first_line(text: object) -> str:
    return (str(text).strip().splitlines() or [""])[0]
