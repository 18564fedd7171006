"""Which worlds exist, and how one is made from its name.

A name is a short alias, any Gymnasium id, or `module:Namespace/World-v0`, whose module is imported
first. Installed packages can also announce worlds through Gymnasium's own entry-point group
`gymnasium.envs`. What is made must be a text world of the shape of `envs.world.World`.
"""

import importlib
import inspect
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator

from envs.errors import UnknownOption, UnknownWorld, did_you_mean
from envs.world import Description, Split, World, options_of

ALIASES = {
    "aime25": "harness/AIME25-v1",
    "arithmetic": "harness/Arithmetic-v1",
    "beyond_aime": "harness/BeyondAIME-v1",
    "calibration/both": "harness/CalibrationBoth-v1",
    "calibration/neither": "harness/CalibrationNeither-v1",
    "calibration/shown": "harness/CalibrationShown-v1",
    "calibration/told": "harness/CalibrationTold-v1",
    "hmmt": "harness/HMMT-v1",
}
_ENTRY_POINTS = {
    "harness/AIME25-v1": "envs.competition:AIME25",
    "harness/Arithmetic-v1": "envs.arithmetic:Arithmetic",
    "harness/BeyondAIME-v1": "envs.competition:BeyondAIME",
    "harness/CalibrationBoth-v1": "envs.calibration:Both",
    "harness/CalibrationNeither-v1": "envs.calibration:Neither",
    "harness/CalibrationShown-v1": "envs.calibration:Shown",
    "harness/CalibrationTold-v1": "envs.calibration:Told",
    "harness/HMMT-v1": "envs.competition:HMMT",
}
_SHAPE = ("briefing", "size", "fingerprint", "oracle")


def register() -> None:
    """Tell Gymnasium about the worlds of this package; doing so twice changes nothing."""
    for world_id, entry_point in _ENTRY_POINTS.items():
        if world_id not in gymnasium.registry:
            gymnasium.register(id=world_id, entry_point=entry_point)


def names() -> tuple[str, ...]:
    """The short names."""
    return tuple(sorted(ALIASES))


def resolve(name: str) -> str:
    """The Gymnasium id of a world; raises UnknownWorld with a suggestion and what exists."""
    world_id = ALIASES.get(name, name)
    try:
        _spec(world_id)
    except (gymnasium.error.Error, ModuleNotFoundError) as reason:
        raise UnknownWorld(
            f"There is no world '{name}'. {did_you_mean(name, ALIASES)} Any Gymnasium id of a text"
            f" world, or module:Namespace/World-v0, will do too ({_first_line(reason)})."
        ) from reason
    return world_id


def _spec(world_id: str) -> EnvSpec:
    module, _, registered = world_id.rpartition(":")
    if module:
        importlib.import_module(module)
    return gymnasium.spec(registered)


def make(name: str, split: Split = "train", **options: Any) -> World:
    """A world of that name, unwrapped: the harness counts turns and checks order itself.

    An option that is None or False is left out, so that one caller can serve all worlds. Raises
    UnknownWorld where there is none or it is no text world, UnknownOption for an option it does
    not take, and the world's own DataError.
    """
    world_id = resolve(name)
    options = {key: value for key, value in options.items() if value not in (None, False)}
    spec = _spec(world_id)
    creator = _creator(spec)
    if isinstance(creator, type):
        _refuse_misshapen(name, creator)
    _refuse_unknown(name, creator, options)
    made = gymnasium.make(world_id, disable_env_checker=True, split=split, **options).unwrapped
    _refuse_misshapen(name, made)
    if spec.max_episode_steps is not None or spec.additional_wrappers:
        raise UnknownWorld(
            f"'{name}' is registered with wrappers or max_episode_steps, which are not applied to"
            " text worlds; put them into the world itself."
        )
    world: World = made  # type: ignore[assignment]  # the shape was checked above
    return world


def describe(name: str) -> Description:
    """What a world is, its splits, files and options, without loading its data."""
    world_id = resolve(name)
    creator = _creator(_spec(world_id))
    known = isinstance(creator, type) and issubclass(creator, World)
    return Description(
        name=name,
        id=world_id,
        summary=_first_line(inspect.getdoc(creator) or ""),
        sizes=creator.sizes() if known else {},
        files=creator.files() if known else (),
        options=options_of(creator),
        reply_tokens=int(getattr(creator, "reply_tokens", 0)),
        redistributable=bool(getattr(creator, "redistributable", False)),
    )


def _creator(spec: EnvSpec) -> Any:
    entry_point = spec.entry_point
    return load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point


def _refuse_misshapen(name: str, world: object) -> None:
    missing = [part for part in _SHAPE if not hasattr(world, part)]
    if missing:
        raise UnknownWorld(
            f"'{name}' is a Gymnasium environment but not a text world: it lacks"
            f" {', '.join(missing)}. Derive it from envs.World."
        )


def _refuse_unknown(name: str, creator: Any, options: dict[str, Any]) -> None:
    taken = options_of(creator)
    open_ended = any(
        p.kind is p.VAR_KEYWORD for p in inspect.signature(creator).parameters.values()
    )
    unknown = [] if open_ended else sorted(set(options) - set(taken))
    if unknown:
        listed = did_you_mean(unknown[0], taken) if taken else "It takes none."
        raise UnknownOption(f"World '{name}' has no option '{unknown[0]}'. {listed}")


def _first_line(text: object) -> str:
    return (str(text).strip().splitlines() or [""])[0]
