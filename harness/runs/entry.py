"""The entry of a finished run: its Track, outcomes and provenance."""

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import tomli_w

import envs
from envs.verdict import HUNG
from harness import budget
from harness.env_capabilities import (
    completion_tokens_of,
    family_of,
    grader_version_of,
    shared_fingerprint,
)
from harness.metered import Metered
from harness.policies import deterministic
from harness.policies.base import Policy
from harness.policies.capabilities import identity_of, notes_of, versions_of
from harness.policies.vllm.url import parse_address
from harness.runs.envs import answers_once, public_name, public_options
from harness.runs.history import participants
from harness.runs.history.details import EntryDetails
from harness.settings.build import recorded
from harness.settings.config import Config
from harness.storage.transcript import status
from harness.system.secrets import HIDDEN, redact, secret_name
from harness.text_env import TextEnvProtocol
from harness.types import JSON, Agent
from leaderboards.records.entry import (
    Entry,
    Outcome,
    Prompt,
    Track,
    tasks_hash,
    text_hash,
)
from leaderboards.records.provenance import Prices, Provenance, Spent
from leaderboards.records.redact import redacted, redacted_json
from leaderboards.records.strict_json import encode

_CLAIMED = {
    "track": (
        "placement",
        "temperature",
        "top_p",
        "max_tokens",
        "eval_temperature",
        "eval_top_p",
        "budget_episodes",
        "samples_per_task",
        "thinking",
    ),
    "provenance": ("prices",),
}
"""Fields of an entry that `claimed` gives, by the record that holds them."""


def make_track(
    request: Config,
    env: TextEnvProtocol,
    policy: Metered,
    reflector: Policy,
    tasks: Sequence[str],
) -> Track:
    """Everything that two comparable results must share."""
    identity = _identity(policy)
    return Track(
        env=envs.resolve(request.env.name),
        env_fingerprint=shared_fingerprint(env),
        briefing_hash=text_hash(_briefing(request, env)),
        model=public_model(request.model_url),
        weights=identity.get("weights", ""),
        quantisation=identity.get("quantisation", ""),
        rendering=identity.get("rendering", ""),
        placement=request.run.prompt_role,
        reflector=_reflector_name(request.reflection.model, reflector),
        engine=f"{identity.get('engine', '')} {identity.get('dtype', '')}".strip(),
        mode="deterministic" if deterministic(request.model_url, request.model) else "fast",
        temperature=request.sampling.temperature,
        top_p=request.sampling.top_p,
        max_tokens=request.sampling.max_tokens,
        eval_temperature=request.evaluation.temperature,
        eval_top_p=request.evaluation.top_p,
        budget_episodes=request.budget.episodes,
        # A task is here once for each of its samples.
        test_tasks=len(set(tasks)),
        test_tasks_hash=tasks_hash(tasks),
        samples_per_task=request.evaluation.samples,
        grader=grader_version_of(env),
        reduced=_reduced(request, env),
        family=family_of(env),
        model_configuration=identity.get("configuration", ""),
        thinking=request.model.thinking,
        tools=request.model.tools,
        adapter=identity.get("adapter", ""),
    )


def claimed(request: Config) -> dict[str, Any]:
    """Fields of an entry that the configuration alone decides, with their values.

    Without the model's name: that of a local folder depends on the machine.
    """
    return {
        "method": request.method,
        "seed": request.run.seed,
        "config": encode(_config(request)),
        "track.placement": request.run.prompt_role,
        "track.temperature": request.sampling.temperature,
        "track.top_p": request.sampling.top_p,
        "track.max_tokens": request.sampling.max_tokens,
        "track.eval_temperature": request.evaluation.temperature,
        "track.eval_top_p": request.evaluation.top_p,
        "track.budget_episodes": request.budget.episodes,
        "track.samples_per_task": request.evaluation.samples,
        "track.thinking": request.model.thinking,
        "provenance.command": without_model(_command(request)),
        "provenance.prices": _prices(request),
    }


def without_model(command: Sequence[str]) -> tuple[str, ...]:
    """A command without the value of --model."""
    before = ("", *command)
    return tuple(word for word, flag in zip(command, before, strict=False) if flag != "--model")


def names_of(url: str) -> set[str]:
    """The names that entries may have for a model, here and where its folder is somewhere else."""
    return {public_model(url), redacted(url), f"hf:{Path(url.removeprefix('hf:')).name}"}


def claims_of(entry: Entry) -> dict[str, Any]:
    """The same fields as `claimed`, as an entry has them."""
    parts = {"track": entry.track, "provenance": entry.provenance}
    own = {"method": entry.method, "seed": entry.seed, "config": encode(entry.config)}
    for part, names in _CLAIMED.items():
        own |= {f"{part}.{name}": getattr(parts[part], name) for name in names}
    return own | {"provenance.command": without_model(entry.provenance.command)}


def _config(request: Config) -> Any:
    # Under the names that the settings had first, which published entries keep.
    return redacted_json(_row_config(request, recorded(request.method_settings)))


def _briefing(request: Config, env: TextEnvProtocol) -> str:
    """The initial prompt; the own prompts of a per-seed task distribution count as one."""
    if family_of(env) and request.run.prompt == env.system_prompt:
        return f"the briefing of {family_of(env)}"
    return request.run.prompt or ""


def _identity(policy: Policy) -> Mapping[str, str]:
    inner = policy.inner if isinstance(policy, Metered) else policy
    return identity_of(inner)


def public_model(url: str) -> str:
    """A model's URL without private parts: a local folder is named by its last part alone."""
    if url.startswith("vllm:"):
        return parse_address(url).public
    if url.startswith("hf:") and Path(url[3:]).is_dir():
        return f"hf:{Path(url[3:]).name}"
    return redacted(url)


def _reflector_name(name: str, reflector: Policy) -> str:
    if name in ("initial", "current"):
        return "reference" if name == "initial" else name  # as it was called first
    # `sha256:` and twelve digits.
    return f"{public_model(name)} {_identity(reflector).get('weights', '')[:19]}".strip()


def _reduced(request: Config, env: TextEnvProtocol) -> str:
    """The limits in which this Track is smaller than the environment's own."""
    usual = completion_tokens_of(env, 0)
    limit, tasks = request.sampling.max_tokens, request.evaluation.tasks
    facts = []
    if limit < usual:
        facts.append(f"replies of at most {limit} of {usual} tokens")
    if 0 < tasks < env.size("test"):
        facts.append(f"{tasks} of {env.size('test')} test tasks")
    return "; ".join(facts)


def make_entry(
    request: Config,
    env: TextEnvProtocol,
    policy: Metered,
    spent: budget.Usage,
    agent: Agent,
    records: Sequence[Mapping[str, JSON]],
    adapter_hash: str,
    reflector: Policy,
    details: EntryDetails,
    asked_again: int,
    notes: Sequence[str],
) -> Entry:
    """The run's entry."""
    once = answers_once(env)
    outcomes = tuple(_outcome(line, once) for line in records)
    return Entry(
        track=make_track(request, env, policy, reflector, [o.task for o in outcomes]),
        method=request.method,
        config=_config(request),
        seed=request.run.seed,
        outcomes=outcomes,
        spent=Spent(
            episodes=spent.episodes,
            acting_tokens=spent.acting_tokens,
            reflection_tokens=spent.reflection_tokens,
            evaluation_tokens=spent.evaluation_tokens,
            evaluation_episodes=spent.evaluation_episodes,
            gradient_steps=spent.gradient_steps,
            seconds=round(spent.seconds, 3),
        ),
        prompt=Prompt(agent.prompt.briefing, agent.prompt.principles),
        provenance=provenance(request, versions_of(policy.inner)),
        adapter_hash=adapter_hash,
        policy_version=agent.policy_version,
        notes=(*_lasting(notes_of(policy.inner)), *notes, *details.notes),
        learning_curve=details.learning_curve,
        population=details.population,
        task_texts=details.task_texts,
        backend=details.backend,
        asked_again=asked_again,
        hung_graders=hung_graders(records),
        segments=details.segments,
        execution_changes=details.execution_changes,
        participants=details.participants,
        sealed=details.sealed,
    )


def hung_graders(records: Sequence[Mapping[str, JSON]]) -> int:
    """The number of test episodes that are wrong because grading them did not end."""
    return sum(str(line.get("feedback", "")).startswith(HUNG) for line in records)


def _lasting(notes: Sequence[str]) -> tuple[str, ...]:
    """Notes about the model and its completions, without those about this machine."""
    here = ("CPU threads", "Memory:", "Engine:")
    return tuple(redacted(redact(note)) for note in notes if not note.startswith(here))


def _row_config(request: Config, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The method's settings without the seed: runs that differ in them are different rows."""
    if not settings:
        return {}
    shape = request.budget
    reflection = request.reflection
    return {
        **settings,
        "round": [shape.tasks, shape.prompts, shape.samples],
        "lora": [request.model.lora_rank, request.model.lora_alpha],
        "reflection": [reflection.temperature, reflection.top_p, reflection.max_tokens],
    }


def _outcome(line: Mapping[str, JSON], once: bool) -> Outcome:
    """The outcome of an episode; completions stay apart unless the environment takes one."""
    verdict = status(cast(str, line["ending"]))
    turns = cast(Sequence[Mapping[str, Any]], line["turns"])
    replies = tuple(str(turn["reply"]) for turn in turns)
    return Outcome(
        task=cast(str, line["task"]),
        sample=cast(int, line["sample"]),
        status=cast(Any, verdict),
        reward=cast(float | None, line["reward"]),
        # Unscored is neither right nor wrong.
        success=cast(bool, line["success"]) if verdict != "unscored" else None,
        tokens=cast(int, line["sampled"]),
        reply="\n\n".join(replies) if once else replies,
    )


def provenance(request: Config, engine: Mapping[str, str]) -> Provenance:
    """Provenance without the machine's name; `engine` has the versions of the backend."""
    commit, dirty = participants.code_version()
    return Provenance(
        commit=commit,
        dirty=dirty,
        versions=participants.package_versions(engine),
        device=f"{request.model.device} ({platform.system()} {platform.machine()})",
        threads=max(request.model.threads, 1),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=_command(request),
        prices=_prices(request),
    )


def _prices(request: Config) -> Prices | None:
    prices = request.prices
    if not prices.currency:
        return None
    return Prices(prices.currency, prices.rollout, prices.reflection)


def _command(request: Config) -> tuple[str, ...]:
    """The command that repeats this run; every setting stands in the entry itself."""
    flags = {
        "--env": public_name(request.env.name),
        "--method": request.method,
        "--model": public_model(request.model_url),
        "--seed": str(request.run.seed),
        "--episodes": str(request.budget.episodes),
    }
    env_options = {
        key: HIDDEN if secret_name(key) else redact(value) if isinstance(value, str) else value
        for key, value in public_options(request.env.name, request.env_options).items()
    }
    written = tomli_w.dumps(
        {k: redacted(v) if isinstance(v, str) else v for k, v in env_options.items()}
    )
    options = [word for line in written.splitlines() for word in ("--set", f"env.{line}")]
    # The run's own seed is the default, so only another one has to be named.
    if request.env.task_seed not in (None, request.run.seed):
        options += ["--set", f"env.task_seed={request.env.task_seed}"]
    return ("harness", "run", *(word for pair in flags.items() for word in pair), *options)
