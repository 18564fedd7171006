"""Build a run (environment, policy, method, arena, run directory) from its request, and run it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import agents
from agents.context import MethodContext
from harness import budget
from harness.arena import Arena
from harness.budget import BudgetPlan, Shape
from harness.callbacks import Callbacks
from harness.env_pool import close_env
from harness.errors import RunError
from harness.evaluate import Interrupted, evaluate, evaluation_tasks
from harness.metered import Meter, Metered, MeteredTrainable, metered
from harness.method import Method, ReflectsConcurrently
from harness.policies import deterministic, open_policy, require_trainable
from harness.policies.base import Policy
from harness.policies.capabilities import close as close_policy
from harness.policies.capabilities import identity_of, notes_of, settings_of, thinks_of, versions_of
from harness.rollout import RolloutConfig
from harness.runs.checks.finite import not_finite_explained
from harness.runs.checks.grader_selftest import check_graders
from harness.runs.checks.lengths import with_reflection_limit
from harness.runs.checks.memory import fit_to_memory
from harness.runs.entry import make_entry
from harness.runs.envs import env_maker
from harness.runs.history.details import read_details
from harness.runs.history.fit_entry import fitted
from harness.runs.history.held_out import HeldOutEvaluation
from harness.runs.history.seal import Seal, check_request, first_seal, seal_entry, seal_run
from harness.runs.history.training_notes import training_notes
from harness.runs.limits import LimitReached, RunLimits, rounds_logged
from harness.runs.off_policy import mismatch_notes
from harness.runs.request import write_request
from harness.seeds import Seeds
from harness.settings.config import Config
from harness.storage.atomic_files import lines, read_json, write_json
from harness.storage.checkpoint import finish_swap, read_checkpoint
from harness.storage.evaluation_starts import RUN_ID
from harness.storage.final_agent import adapter_hash, write_final_agent
from harness.storage.lock import Lock
from harness.storage.own_files import refuse_links
from harness.storage.run_dir import Run
from harness.system.resource_errors import resource_errors_explained
from harness.text_env import TextEnvProtocol
from harness.train import train
from harness.types import Agent, SystemPrompt
from leaderboards.records.entry import Entry
from leaderboards.records.store import clear_drafts, read_entry, write_entry


def _same_as_before(folder: Path, env: TextEnvProtocol, policy: Policy) -> None:
    """Refuse to continue with other data or another model than the run began with."""
    identity = identity_of(policy)
    now = {
        "environment": env.fingerprint(),
        "weights": identity.get("weights", ""),
        "rendering": identity.get("rendering", ""),
    }
    if configuration := identity.get("configuration"):
        now["model configuration"] = configuration
    path = folder / "identity.json"
    if not path.exists():
        # A random name too, by which a copy of the run is known as one.
        write_json(path, {**now, RUN_ID: secrets.token_hex(8)})
    # A run from before the configuration was recorded is not compared by it.
    before = {"model configuration": now.get("model configuration"), **read_json(path)}
    different = [name for name, value in now.items() if before.get(name) != value]
    if different:
        raise RunError(
            f"{folder} began with other {' and '.join(different)} than are here now; restore them, "
            "or start a new run."
        )


def resolved_request(request: Config, policy: Policy) -> Config:
    """The request with what was only known once the model was open: device, dtype, threads."""
    return replace(request, model=settings_of(policy, request.model))


def _reflector_thinks(request: Config, policy: Policy, reflector: Policy) -> bool:
    """True if the reflection model is known to think before it answers."""
    if request.reflection.separate:
        return thinks_of(reflector.inner if isinstance(reflector, Metered) else reflector)
    # An endpoint does not tell; there the switch is known at most.
    return thinks_of(policy) or request.model.thinking == "on"


def reflector_for(request: Config, policy: Metered, meter: Meter) -> Policy:
    """The reflection model: initial weights, current weights, or another model."""
    name = request.reflection.model
    if name == "initial":
        # A policy that is never trained is its own reference.
        return policy.reference if isinstance(policy, MeteredTrainable) else policy
    if name == "current":
        return policy
    # The switch is set for the evaluated model; another model's template may have none.
    other = open_policy(name, replace(request.model, thinking="default"))
    return metered(other, meter, deterministic(name, request.model))


@dataclass
class RunContext:
    """Everything one run needs, put together."""

    request: Config
    folder: Path
    policy: Metered
    meter: Meter
    env: TextEnvProtocol
    plan: BudgetPlan
    arena: Arena
    run: Run
    callbacks: Callbacks
    reflector: Policy
    limits: RunLimits
    seal: Seal | None
    """None for a finished run that was opened again."""

    def evaluation_table(self, *names: str) -> RolloutConfig:
        """Rollout configuration of an evaluation; `names` choose its random stream."""
        return RolloutConfig(
            self.policy,
            self.arena.envs,
            self.request.evaluation.sampling(self.request.sampling.max_tokens),
            Seeds(self.request.run.seed).child(*names),
            self.request.run.prompt_role,
            "evaluate",
            self.policy.deterministic,
        )

    def close(self) -> None:
        """Close environments, files, and models that have processes of their own."""
        # The reflector may be the policy itself: closing one again does nothing.
        for policy in (self.policy, self.reflector):
            close_policy(policy.inner if isinstance(policy, Metered) else policy)
        self.arena.close()
        close_env(self.env)
        self.run.close()


def build_run(
    request: Config, folder: Path, callbacks: Callbacks, stop: Callable[[], bool]
) -> RunContext:
    """Open the model and the environment; nothing is sampled yet."""
    refuse_links(folder)
    make_env = env_maker(request)
    env = make_env("train")
    # Before the model is opened, which can take minutes.
    check_graders(env)
    opened = open_policy(request.model_url, request.model)
    _same_as_before(folder, env, opened)
    for note in (*notes_of(opened), *fit_to_memory(request, folder, opened)):
        callbacks.note(note)
    # Resuming should not choose device, dtype and threads anew: they change what is sampled.
    request = resolved_request(request, opened)
    meter = Meter(callbacks)
    policy = metered(opened, meter, deterministic(request.model_url, request.model))
    reflector = reflector_for(request, policy, meter)
    request = with_reflection_limit(request, _reflector_thinks(request, opened, reflector))
    # A finished run may be opened again for analyses, and keeps the request that it ran with.
    seal = None
    if not (folder / "entry.json").exists():
        # First, so that a run killed between the two is sealed with what it resolved to.
        write_request(request, folder)
        seal = seal_run(request, folder, versions_of(opened), callbacks.note)
    wanted = Shape(request.budget.tasks, request.budget.prompts, request.budget.samples)
    # A method that plays no training episodes has no rounds either.
    episodes = request.budget.episodes if agents.spec(request.method).plays else 0
    plan = budget.plan(episodes, wanted, env.size("train"))
    seeds = Seeds(request.run.seed)
    arena = Arena(
        make_env,
        env.size("train"),
        policy,
        plan,
        request.sampling.sampling(),
        seeds.child("train"),
        request.run.prompt_role,
        lambda: stop() or limits.stop_before_iteration(),
    )
    run = Run(folder, policy, meter)
    run.seal = seal.copy() if seal else None
    limits = RunLimits(
        request.limits, request.prices, lambda: meter.spent, lambda: rounds_logged(folder)
    )
    callbacks.add(run)
    return RunContext(
        request, folder, policy, meter, env, plan, arena, run, callbacks, reflector, limits, seal
    )


def make_method(run_context: RunContext) -> Method:
    """The method, with what it may use."""
    request = run_context.request
    policy: Policy = run_context.policy
    # Before the first episode, as this also checks what training needs.
    if agents.trains_weights(request.method):
        require_trainable(run_context.policy.inner)
    context = MethodContext(
        initial_prompt=SystemPrompt(request.run.prompt or ""),
        policy=policy,
        rollout_sampling=request.sampling.sampling(),
        reflection_model=run_context.reflector,
        reflection_sampling=request.reflection.sampling(),
        can_reflect_concurrently=request.reflection.separate,
        validation_tasks=run_context.env.size("validation"),
    )
    return agents.make(request.method, request.method_settings, context)


def run_one(request: Config, folder: Path, callbacks: Callbacks, stop: Callable[[], bool]) -> Entry:
    """Train, evaluate once, write the entry; continues where an earlier process stopped."""
    path = folder / "entry.json"
    if path.exists():
        return read_entry(path)
    again = f"go on with harness resume {folder}"
    refuse_links(folder)
    with (
        resource_errors_explained(f"The run in {folder} cannot go on", again),
        Lock(folder / "run.lock"),
    ):
        if path.exists():  # finished by another process a moment ago
            return read_entry(path)
        # Under the lock, so that a draft found here is no other process's work in progress.
        clear_drafts(path)
        finish_swap(folder)
        # Before the model is opened, which can take minutes; compared in full on resuming.
        read_checkpoint(folder, quick=True)
        check_request(request, folder)
        run_context = build_run(request, folder, callbacks, stop)
        try:
            method = make_method(run_context)
            with not_finite_explained(request, folder, lambda: run_context.run.iteration):
                agent = train(method, run_context.arena, run_context.run)
            _stop_at_limit(run_context)
            if stop():
                # A stop ends training without an error, and this agent is not the final one.
                raise Interrupted
            # Not at the end: a process killed after the entry is written is never resumed.
            run_context.run.journal.close()
            entry = fitted(_test(run_context, agent, concurrency_notes(method), stop))
            seal_entry(entry, folder)
            write_entry(path, entry)
            return entry
        finally:
            run_context.close()


def _stop_at_limit(run_context: RunContext) -> None:
    """Stop where a limit ended training, or the evaluation would exceed one.

    Raises:
        LimitReached: So; what is stored is whole and can be resumed.
    """
    limits, request = run_context.limits, run_context.request
    tests = run_context.env.size("test")
    samples = min(request.evaluation.tasks or tests, tests) * request.evaluation.samples
    missing = samples - len(list(lines(run_context.folder / "test.jsonl")))
    if limits.reached or limits.stop_before_evaluation(missing):
        raise LimitReached(f"{run_context.folder}: {limits.reached}")


def concurrency_notes(method: Method) -> tuple[str, ...]:
    """A note where another model reflected while the gradient step was computed."""
    if not (isinstance(method, ReflectsConcurrently) and method.reflects_concurrently):
        return ()
    return (
        "reflection ran beside the gradient step, by a model of its own: the run repeats byte for "
        "byte only where that model's replies do",
    )


def _test(
    run_context: RunContext, agent: Agent, notes: tuple[str, ...], stop: Callable[[], bool]
) -> Entry:
    evaluation = run_context.request.evaluation
    tasks = evaluation_tasks("test", run_context.env.size("test"), evaluation.tasks or None)
    table = run_context.evaluation_table("test")
    write_final_agent(agent, run_context.folder)
    log, deterministic = run_context.folder / "test.jsonl", run_context.policy.deterministic
    # Before the first test episode: a process that goes on after this one must not evaluate
    # another agent.
    with HeldOutEvaluation(run_context.folder, agent, deterministic) as opened:
        records = evaluate(
            agent, tasks, evaluation.samples, table, run_context.meter, log, stop, opened.requests
        )
    details = read_details(
        run_context.request,
        run_context.folder,
        run_context.policy,
        run_context.reflector,
        agent,
        records,
        run_context.seal or first_seal(run_context.request, run_context.folder),
    )
    return make_entry(
        run_context.request,
        run_context.env,
        run_context.policy,
        run_context.meter.spent,
        agent,
        records,
        adapter_hash=adapter_hash(run_context.folder, agent),
        reflector=run_context.reflector,
        details=details,
        asked_again=opened.asked_again,
        notes=(
            *notes,
            *opened.notes,
            *mismatch_notes(run_context.request),
            *training_notes(run_context.folder, agent, run_context.request.run.prompt or ""),
        ),
    )
