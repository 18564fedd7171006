"""From what was typed to a full request: defaults that suit the environment and the machine."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import agents
from harness import config as configs
from harness import machine
from harness.cli.worlds import make_world, takes_data
from harness.config import Config, Scalar
from harness.errors import UsageError, unknown
from harness.policies import kind_of, untrainable
from harness.worlds import World

Tables = Mapping[str, Mapping[str, Scalar]]
_LAPTOP_TOKENS = 256


@dataclass(frozen=True)
class Asked:
    """What the user typed; None and () mean: not said."""

    env: str | None = None
    methods: tuple[str, ...] = ()
    model: str | None = None
    seeds: tuple[int, ...] = (0,)
    preset: str | None = None
    config: Path | None = None
    sets: tuple[str, ...] = ()
    prompt: Path | None = None
    episodes: int | None = None
    test_tasks: int | None = None
    samples: int | None = None
    data_dir: Path | None = None
    accept_data: bool = False


@dataclass(frozen=True)
class Resolved:
    """One request per method and seed, and what the user should know about them."""

    configs: tuple[Config, ...]
    notes: tuple[str, ...]


def _flags(asked: Asked) -> dict[str, dict[str, Scalar]]:
    said: dict[tuple[str, str], Scalar | None] = {
        ("env", "name"): asked.env,
        ("env", "data_dir"): str(asked.data_dir.resolve()) if asked.data_dir else None,
        ("env", "accept_data"): asked.accept_data or None,
        ("model", "url"): asked.model,
        ("budget", "episodes"): asked.episodes,
        ("evaluation", "tasks"): asked.test_tasks,
        ("evaluation", "samples"): asked.samples,
    }
    tables: dict[str, dict[str, Scalar]] = {}
    for (section, key), value in said.items():
        if value is not None:
            tables.setdefault(section, {})[key] = value
    if asked.prompt is not None:
        try:
            tables["run"] = {"prompt": asked.prompt.read_text(encoding="utf-8").strip()}
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{asked.prompt} cannot be read as text ({error}); check --prompt."
            ) from error
    for text in asked.sets:
        section, key, value = configs.parse_set(text)
        tables.setdefault(section, {})[key] = value
    return tables


def resolve(asked: Asked) -> Resolved:
    """Lay preset, file and flags over each other, once per method and seed."""
    typed = configs.merge(configs.read_toml(asked.config) if asked.config else {}, _flags(asked))
    notes: list[str] = []
    base: dict[str, dict[str, Scalar]] = {}
    preset = asked.preset
    if preset is None or "url" not in typed.get("model", {}):
        here = machine.look()
        choice = machine.choose(here)
        if "url" not in typed.get("model", {}):
            base["model"] = {"url": choice.model}
            notes.append(f"model: {choice.model}, because {choice.reason}")
        if preset is None:
            preset = "paper" if here.device == "cuda" else "laptop"
            notes.append(f"preset: {preset} (choose with --preset {'|'.join(configs.presets())})")
    tables = configs.merge(base, configs.preset(preset), typed)
    name = str(tables.get("env", {}).get("name", "arithmetic"))
    world = open_world(tables)
    try:
        tables = _suit(tables, world, preset, typed)
        notes += _warnings(tables, name, world, preset)
    finally:
        world.close()
    methods = asked.methods or (str(tables.get("method", {}).get("name", "espl")),)
    _check_method_keys(typed, methods)
    _check_models(tables, methods)
    return Resolved(tuple(_each(tables, typed, methods, asked.seeds)), tuple(notes))


def open_world(tables: Tables) -> World:
    """The environment's training split, only to ask it about itself."""
    section = tables.get("env", {})
    return make_world(
        str(section.get("name", "arithmetic")),
        "train",
        str(section.get("data_dir", "")),
        bool(section.get("accept_data", False)),
    )


def _suit(
    tables: dict[str, dict[str, Scalar]], world: World, preset: str, typed: Tables
) -> dict[str, dict[str, Scalar]]:
    tokens = int(getattr(world, "reply_tokens", 1024))
    if preset == "laptop":
        tokens = min(tokens, _LAPTOP_TOKENS)
    fitted: dict[str, dict[str, Scalar]] = {"run": {"prompt": world.briefing}}
    if "max_tokens" not in typed.get("sampling", {}) and preset != "paper":
        fitted["sampling"] = {"max_tokens": tokens}
    if preset == "laptop" and "reduced" not in typed.get("run", {}):
        fitted["run"]["reduced"] = f"laptop: replies of at most {tokens} tokens"
    return configs.merge(tables, fitted, typed)


def _warnings(tables: Tables, name: str, world: World, preset: str) -> list[str]:
    model = str(tables.get("model", {}).get("url", ""))
    notes = []
    if tables.get("env", {}).get("data_dir") and not takes_data(name):
        notes.append(f"{name} makes its own tasks and reads no data: --data-dir is not used")
    competition = not getattr(world, "redistributable", True)
    if not competition or model != "smollm2":
        return notes
    full = configs.from_tables(configs.preset("paper"))
    tests = world.size("test") * full.evaluation.samples
    tokens = full.sampling.max_tokens // 2
    rows = full.model.batch_rows
    hours = machine.predicted_hours(full.budget.episodes, tests, tokens, rows)
    return [
        *notes,
        f"{model} has 135 M parameters and scores near zero on {name}; "
        f"this is a reduced Track, good for trying the machinery ({preset} preset)",
        f"the full run, about {hours:.0f} hours on one data-centre GPU if replies average "
        f"{tokens} tokens: harness run --env {name} --method espl --model hf:Qwen/Qwen3-4B "
        "--preset paper",
    ]


def _check_method_keys(typed: Tables, methods: Sequence[str]) -> None:
    known = {f.name for method in methods for f in fields(agents.config_type(method))}
    for key in typed.get("method", {}):
        if key not in known | {"name"}:
            raise unknown(f"setting [method] of {', '.join(methods)}", key, known)


def _check_models(tables: Tables, methods: Sequence[str]) -> None:
    """What can be known of the models before anything is written or loaded."""
    url = str(tables.get("model", {}).get("url", ""))
    if kind_of(url) != "hf" and any(agents.trains_weights(method) for method in methods):
        raise untrainable(url)
    reflector = str(tables.get("reflection", {}).get("model", "reference"))
    if reflector not in ("reference", "current"):
        kind_of(reflector)


def _each(
    tables: dict[str, dict[str, Scalar]],
    typed: Tables,
    methods: Sequence[str],
    seeds: Sequence[int],
) -> list[Config]:
    requests = []
    for method in methods:
        takes = {f.name for f in fields(agents.config_type(method))}
        given = {k: v for k, v in tables.get("method", {}).items() if k in takes}
        whole = asdict(configs.build(agents.config_type(method), given, "method"))
        table = {k: v for k, v in whole.items() if v is not None}
        for seed in seeds:
            own: dict[str, dict[str, Scalar]] = {"run": {"seed": seed}, "model": {"seed": seed}}
            request = configs.merge({k: v for k, v in tables.items() if k != "method"}, own)
            request["method"] = {"name": method, **table}
            requests.append(configs.from_tables(request))
    return requests
