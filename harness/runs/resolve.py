"""Resolve the user's options to full requests, with defaults for environment and machine."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import agents
from harness.budget import Shape, plan
from harness.env_capabilities import completion_tokens_of, redistributable
from harness.env_pool import close_env
from harness.errors import UsageError, unknown
from harness.policies import check_url, kind_of, trainable, untrainable
from harness.policies.vllm import url as vllm_url
from harness.runs.envs import (
    make_env,
    takes_data,
    takes_seed,
    whole_name,
    whole_options,
)
from harness.runs.hosted_checks import check_hosted, hosted_defaults
from harness.runs.limits import check_limits
from harness.runs.off_policy import (
    DEFAULT_CORRECTION,
    correction_note,
    mismatch,
    needs_correction,
)
from harness.runs.request import build_request
from harness.settings.config import Config, env_tables, from_tables
from harness.settings.executor import check_removed
from harness.settings.old_names import modern, written_name
from harness.settings.sections import EnvSection
from harness.settings.sources import Scalar, merge, preset_names, read_preset, read_sets, read_toml
from harness.system import hardware
from harness.text_env import TextEnvProtocol
from leaderboards.boards.formatting import counted

Tables = Mapping[str, Mapping[str, Scalar]]
# Maximum new tokens that a preset allows; elsewhere the environment's own limit holds.
_MOST_TOKENS = {"laptop": 256, "gpu": 4096}


@dataclass(frozen=True)
class Requested:
    """Options that the user gave; None and () mean that an option was not given."""

    env: str | None = None
    methods: tuple[str, ...] = ()
    model: str | None = None
    seeds: tuple[int, ...] = ()
    preset: str | None = None
    config: Path | Tables | None = None
    """A file, or what it would hold."""
    sets: tuple[str, ...] = ()
    prompt: Path | str | None = None
    """A file, or the text itself."""
    episodes: int | None = None
    test_tasks: int | None = None
    samples: int | None = None
    data_dir: Path | None = None
    accept_data: bool = False
    executor: Mapping[str, Scalar] = field(default_factory=dict)
    """Keys of `[executor]`: name, address, jobs."""
    limits: Mapping[str, Scalar] = field(default_factory=dict)
    """Keys of `[limits]`: max_cost, max_hours."""


@dataclass(frozen=True)
class Resolved:
    """One request per method and seed, and what the user should know about them."""

    configs: tuple[Config, ...]
    notes: tuple[str, ...]


def _flags(requested: Requested) -> dict[str, dict[str, Scalar]]:
    """The settings that have a flag of their own, where it was given."""
    given: dict[tuple[str, str], Scalar | None] = {
        ("env", "name"): requested.env,
        ("env", "data_dir"): str(requested.data_dir) if requested.data_dir else None,
        ("env", "accept_data"): requested.accept_data or None,
        ("model", "url"): requested.model,
        ("budget", "episodes"): requested.episodes,
        ("evaluation", "tasks"): requested.test_tasks,
        ("evaluation", "samples"): requested.samples,
    }
    own = {"executor": requested.executor, "limits": requested.limits}
    tables = {name: dict(table) for name, table in own.items() if table}
    for (section, key), value in given.items():
        if value is not None:
            tables.setdefault(section, {})[key] = value
    if isinstance(requested.prompt, str):
        tables["run"] = {"prompt": requested.prompt.strip()}
    elif requested.prompt is not None:
        try:
            tables["run"] = {"prompt": requested.prompt.read_text(encoding="utf-8").strip()}
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{requested.prompt} cannot be read as text ({error}); check --prompt."
            ) from error
    return tables


def _typed(requested: Requested) -> tuple[dict[str, dict[str, Scalar]], list[str]]:
    """The user's own settings, file below `--set` below flags; and a note on each old spelling."""
    file: Tables = {}
    if requested.config:
        file = (
            read_toml(requested.config) if isinstance(requested.config, Path) else requested.config
        )
    sets, flags = read_sets(requested.sets), _flags(requested)
    names = _methods(requested, merge(file, sets))
    known = [agents.config_type(name) for name in names]
    # Layer by layer: a setting under its old name in the file and its new one in a flag is no
    # conflict, and the flag wins.
    layers = [modern(layer, known) for layer in (file, sets, flags)]
    for raw, (tables, _) in zip((file, sets, flags), layers, strict=True):
        section = written_name(raw, "executor")
        check_removed(tables.get("executor", {}), section, typed=raw is sets)
    notes = dict.fromkeys(note for _, found in layers for note in found)
    return merge(*(tables for tables, _ in layers)), list(notes)


def _methods(requested: Requested, tables: Tables) -> tuple[str, ...]:
    return requested.methods or (str(tables.get("method", {}).get("name", "espl")),)


def resolve(requested: Requested, opens: bool = True) -> Resolved:
    """Lay preset, file and flags over each other, once per method and seed.

    Whatever can be refused is refused here, before anything is written or loaded. A plan does not
    open the model, so what opening it needs may be missing.
    """
    typed, renamed = _typed(requested)
    env_name = _env(requested.preset, typed)
    base, preset, notes = _defaults(requested, typed, env_name)
    tables = merge(base, read_preset(preset, env_name), typed)
    # A hosted model's defaults lie lowest: they depend on the URL that the other layers chose.
    tables = _whole_paths(merge(hosted_defaults(str(tables.get("model", {}).get("url"))), tables))
    draft = from_tables(tables)
    if draft.env.data_dir and not takes_data(env_name):
        notes.append(f"{env_name} makes its own tasks and reads no data: --data-dir is not used")
    env = make_env(
        env_name,
        "train",
        draft.env.data_dir,
        draft.env.accept_data,
        chosen=draft.env_options,
    )
    try:
        tables = _suit(tables, env, preset, typed)
        methods = _methods(requested, tables)
        _check(draft, typed, methods, opens)
        requests = tuple(_each(tables, typed, methods, _seeds(requested, draft, typed)))
        for request in requests:
            check_hosted(request)
            check_limits(request.limits, request.prices)
        notes += _fit(requests[0], env) + _warnings(requests[0], env)
        url, model, given = draft.model_url, draft.model, tables.get("method", {})
        if any(needs_correction(method, url, model, given) for method in methods):
            notes.append(correction_note(mismatch(url, model)))
    finally:
        close_env(env)
    return Resolved(requests, (*renamed, *notes))


def _env(preset: str | None, typed: Tables) -> str:
    """The environment that was given, or that the preset is for; refuses two that differ."""
    named = read_preset(preset).get("env", {}).get("name") if preset else None
    name = whole_name(str(typed.get("env", {}).get("name", named or EnvSection().name)))
    if named is not None and name != whole_name(str(named)):
        raise UsageError(
            f"Preset '{preset}' is for {named}, not for {name}; leave out --env, "
            "or write --preset paper."
        )
    return name


def _defaults(requested: Requested, typed: Tables, env: str) -> tuple[Tables, str, list[str]]:
    """Model and preset that suit this machine, where none was given."""
    chosen = "url" in typed.get("model", {})
    if requested.preset and (chosen or "url" in read_preset(requested.preset).get("model", {})):
        return {}, requested.preset, []
    here = hardware.detect()
    choice = hardware.default_model(here, env)
    preset = requested.preset or choice.preset
    if chosen and typed["model"]["url"] != choice.model and preset == "pocket":
        preset = "gpu" if here.device == "cuda" else "laptop"  # that preset is for that model
    notes = []
    if not chosen:
        notes.append(f"model: {choice.model}, because {choice.reason}")
    if not requested.preset:
        notes.append(f"preset: {preset} (choose with --preset {'|'.join(preset_names())})")
    return ({} if chosen else {"model": {"url": choice.model}}), preset, notes


def _whole_paths(tables: dict[str, dict[str, Scalar]]) -> dict[str, dict[str, Scalar]]:
    """Paths made absolute, so that a run can be resumed from any folder."""
    known, options = env_tables({"name": EnvSection().name, **tables.get("env", {})})
    known["name"] = whole_name(str(known["name"]))
    options = whole_options(str(known["name"]), options)
    model = dict(tables.get("model", {}))
    folder = known.get("data_dir") or os.environ.get("HARNESS_DATA_DIR", "")
    # What the variable names is written down too: a resumed run must not depend on it.
    if isinstance(folder, str) and folder and takes_data(str(known["name"])):
        known["data_dir"] = str(Path(folder).resolve())
    url = str(model.get("url", ""))
    if url.startswith("hf:") and Path(url[3:]).is_dir():
        model["url"] = f"hf:{Path(url[3:]).resolve()}"
    elif url.startswith("vllm:"):
        model["url"] = vllm_url.whole_path(url)
    return {**tables, "env": {**known, **options}, "model": model}


def _suit(
    tables: dict[str, dict[str, Scalar]], env: TextEnvProtocol, preset: str, typed: Tables
) -> dict[str, dict[str, Scalar]]:
    """Defaults of the environment itself: its system prompt, and its maximum new tokens."""
    tokens = completion_tokens_of(env, 1024)
    fitted: dict[str, dict[str, Scalar]] = {
        "run": {"prompt": env.system_prompt},
        "sampling": {"max_tokens": min(tokens, _MOST_TOKENS.get(preset, tokens))},
    }
    # Laid on top once more, because the environment's defaults go over the preset's values but
    # not over the user's own.
    given = {name: typed[name] for name in fitted if name in typed}
    return merge(tables, fitted, given)


def _seeds(requested: Requested, draft: Config, typed: Tables) -> tuple[int, ...]:
    if "seed" not in typed.get("run", {}):
        return requested.seeds or (0,)
    if requested.seeds:
        raise UsageError("Both --seed and run.seed were given; leave one of them out.")
    return (draft.run.seed,)


def _check(draft: Config, typed: Tables, methods: Sequence[str], opens: bool) -> None:
    if len(set(methods)) != len(methods):
        raise UsageError(f"A method is named twice in {','.join(methods)}; name each once.")
    # A setting may belong to one method of several, so it has to be known to any of them.
    known = {f.name for method in methods for f in fields(agents.config_type(method))}
    for key in typed.get("method", {}):
        if key not in known | {"name"}:
            if not known:
                raise UsageError(f"{', '.join(methods)} has no settings, so no method.{key}.")
            raise unknown(f"setting [method] of {', '.join(methods)}", key, known)
    check_url(draft.model_url, opens)
    # The row would say so, and a script has no chat template that it could have been said to.
    if draft.model.thinking != "default" and kind_of(draft.model_url) == "scripted":
        raise UsageError("model.thinking changes nothing for a scripted model; leave it out.")
    if draft.model.tools == "native" and kind_of(draft.model_url) == "scripted":
        raise UsageError("A scripted model has no chat template with tools; use model.tools=text.")
    trains = any(agents.trains_weights(method) for method in methods)
    if trains and not trainable(draft.model_url):
        raise untrainable(draft.model_url)
    if draft.reflection.separate:
        check_url(draft.reflection.model, opens)


def _fit(request: Config, env: TextEnvProtocol) -> list[str]:
    """Notes on how the budget is cut into iterations, where it is not as requested."""
    requested = request.budget
    if not agents.spec(request.method).plays:
        return []
    wanted = Shape(requested.tasks, requested.prompts, requested.samples)
    fitted = plan(requested.episodes, wanted, env.size("train"))
    notes = []
    if fitted.rounds and fitted.shape != wanted:
        s = fitted.shape
        notes.append(
            f"iterations shrink to {counted(s.tasks, 'task')} × {counted(s.prompts, 'prompt')} × "
            f"{counted(s.samples, 'sample')} to fit {counted(requested.episodes, 'episode')} and "
            f"{counted(env.size('train'), 'training task')}"
        )
    if fitted.remainder:
        whole = counted(fitted.rounds, "whole iteration")
        notes.append(
            f"{counted(requested.episodes, 'episode')} hold {whole} of {fitted.shape.episodes}; "
            f"{fitted.remainder} of them stay unused"
        )
    return notes


def _warnings(request: Config, env: TextEnvProtocol) -> list[str]:
    """Notes on what to expect of a small model on a hard environment, and on the full run."""
    name = request.env.name
    if redistributable(env) or request.model_url != "smollm2":
        return []
    full = from_tables(read_preset("paper"))
    tests = env.size("test") * full.evaluation.samples
    tokens = completion_tokens_of(env, 15000) // 2
    rows = full.model.batch_rows
    hours = hardware.predicted_hours(full.budget.episodes, tests, tokens, rows)
    limit = request.sampling.max_tokens
    return [
        f"smollm2 has 135 M parameters and scores near zero on {name}; with replies of at most "
        f"{limit} tokens this is a reduced Track, good for trying the machinery",
        f"the full run, about {max(1, round(hours))} h on one data-centre GPU (computed, not "
        f"measured: 30 ms a decoding step, replies of {tokens} tokens on average): harness run "
        f"--env {name} --method espl --model hf:Qwen/Qwen3-4B --preset paper",
    ]


def _of_family(tables: Tables, draft: Config, seed: int) -> dict[str, dict[str, Scalar]]:
    """The environment's task seed that goes with a run's seed, and that environment's own prompt.

    `draft` has the user's own settings only: a prompt in it stays.
    """
    chosen = seed if draft.env.task_seed is None else draft.env.task_seed
    name, options = str(tables["env"]["name"]), env_tables(tables["env"])[1]
    env = make_env(name, "train", task_seed=chosen, chosen=options)
    own: dict[str, dict[str, Scalar]] = {"env": {"task_seed": chosen}}
    if draft.run.prompt is None:
        own["run"] = {"prompt": env.system_prompt}
    close_env(env)
    return own


def _each(
    tables: dict[str, dict[str, Scalar]],
    typed: Tables,
    methods: Sequence[str],
    seeds: Sequence[int],
) -> Iterator[Config]:
    draft = from_tables({name: typed.get(name, {}) for name in ("env", "run")})
    chosen = from_tables({"model": tables.get("model", {})})
    for method in methods:
        # Each method gets the settings it knows; `_check` has refused those that none knows.
        known = {f.name for f in fields(agents.config_type(method))}
        own = {k: v for k, v in tables.get("method", {}).items() if k in known}
        if needs_correction(method, chosen.model_url, chosen.model, own):
            own["correction"] = DEFAULT_CORRECTION
        for seed in seeds:
            layer: dict[str, dict[str, Scalar]] = {
                "run": {"seed": seed},
                # Unless given, the adapter begins differently in every seed.
                "model": {"seed": tables.get("model", {}).get("seed", seed)},
            }
            if takes_seed(str(tables["env"]["name"])):
                layer = merge(layer, _of_family(tables, draft, seed))
            yield build_request({**merge(tables, layer), "method": {"name": method, **own}})
