"""P2O (zlkqz/P2O): RL with evolved hint templates for hard problems, distilled into the weights."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from agents.context import MethodContext, MethodSpec
from agents.gepa import GEPAConfig, begin
from agents.parts.gepa.reflection import GEPAReflection, Style
from agents.parts.gepa.search import GEPASearch
from agents.parts.prompts.operators import EditLimits
from agents.parts.prompts.pareto_cover import pareto_cover
from agents.parts.prompts.population import prompt_from_json
from agents.parts.prompts.serialization import prompt_record, task_from_text
from agents.parts.rl.advantages import Baseline
from agents.parts.rl.config import WeightsConfig
from agents.parts.rl.importance_correction import CorrectionName
from agents.parts.rl.loss_card import card
from agents.parts.rl.losses import LossName
from agents.rl import RL
from harness.errors import RunError
from harness.round_data import Rollouts, Round
from harness.settings.build import settings
from harness.settings.fields import Formerly, UnitName
from harness.types import JSON, Agent, Assignment, Report, SystemPrompt, Task

TokenIds = tuple[int, ...]


@settings
class P2OConfig(WeightsConfig):
    """The source: GRPO, lr 1e-6 on full weights, no KL, an epoch of training between searches."""

    loss: LossName = "grpo"
    """Policy-gradient loss: GRPO, with no KL."""
    baseline: Baseline = "problem"
    """Completions that a reward is compared with: all on the task, whatever their template."""
    correction: Annotated[CorrectionName, Formerly(values={"none": "bypass"})] = "hard_clip"
    """Importance correction: tokens whose ratio without and with the template is outside 0.01 to
    10 are masked."""
    train: Annotated[int, Ge(1), Le(1_000_000), UnitName("iterations")] = 5
    """Iterations of RL between searches; the source takes an epoch. Our choice."""
    fast: Annotated[int, Ge(1), Le(1_000_000), UnitName("iterations")] = 5
    """Iterations of GEPA on the hard tasks; the source's budget is gepa's "heavy", n = 72. Our
    choice."""
    least: Annotated[int, Ge(1), Le(1_000_000), UnitName("tasks")] = 3
    """Hard tasks without which no search is begun; the source asks for 100. Our choice."""
    share: Annotated[float, Ge(0), Le(1)] = 0.5
    """Share of an iteration's tasks that are hard ones from before: the source meets them again in
    its next epoch, and short budgets have no second one. Our choice."""
    templates: Annotated[int, Ge(1), Le(10_000), UnitName("templates")] = 4
    """Templates that the set cover picks at most. Not stated in the source; our choice."""
    reflection: Style = "auto"
    """Form of a reflection, as in GEPA's settings; the source reflects with the initial weights,
    or a larger model."""


@dataclass(frozen=True, slots=True)
class HintTemplate:
    """A prompt for hard problems, with its mean reward on each."""

    prompt: SystemPrompt
    scores: Mapping[Task, float]


class P2O:
    """Prompt-augmented policy optimisation: RL that solves hard problems with hint templates first.

    A problem with at most one right completion in its group is hard. GEPA evolves templates on
    these; afterwards each completion for a hard problem is sampled under one of the templates that
    solved it. The gradient step reads such completions under the plain prompt (context
    distillation), so that no template is needed at test time.
    """

    def __init__(self, config: P2OConfig, context: MethodContext) -> None:
        self.config = config
        self.context = context
        self.rl = RL(config, context)
        self.reflection = GEPAReflection(context, config.reflection, EditLimits())
        self.hard: dict[Task, TokenIds] = {}  # task: tokens of its plain prompt
        self.candidates: dict[Task, TokenIds] = {}  # hard since the last search
        self.templates: tuple[HintTemplate, ...] = ()
        self.search: GEPASearch | None = None

    def assign(self, round: Round) -> list[Assignment]:
        """The evaluations of a search; else plain groups, with hard problems under templates."""
        position = round.index % (self.config.train + self.config.fast)
        if position == self.config.train and len(self.candidates) >= self.config.least:
            self.hard, self.candidates = self.candidates, {}
            self.search = begin(self.context.initial_prompt, list(self.hard), round, GEPAConfig())
        if self.search is not None:
            return self.search.assign(round)
        size, rng = round.prompts * round.samples, round.rng("templates")
        tasks = self._tasks(round, rng)
        return [
            Assignment(prompt, task, samples)
            for task in tasks
            for prompt, samples in self._prompts(task, size, rng)
        ]

    def _tasks(self, round: Round, rng: np.random.Generator) -> list[Task]:
        """The round's problems, the first of them replaced by hard ones from earlier rounds."""
        if not self.templates:
            return list(round.tasks)
        others = [t for t in self.hard if t not in round.tasks]
        count = min(len(others), int(self.config.share * len(round.tasks)))
        back = [others[int(i)] for i in rng.choice(len(others), count, replace=False)]
        return [*back, *round.tasks[count:]]

    def _prompts(
        self, task: Task, size: int, rng: np.random.Generator
    ) -> Sequence[tuple[SystemPrompt, int]]:
        """(prompt, samples) of a task: templates sampled by score if it is hard, else plain."""
        if task not in self.hard or not self.templates:
            return [(self.context.initial_prompt, size)]
        # Templates that never solved this task would produce no reward to learn from.
        solved = [t for t in self.templates if t.scores.get(task, 0.0) > 0] or self.templates
        # The small constant keeps the sum above 0 where no template solved anything.
        weights = np.array([sum(t.scores.values()) for t in solved]) + 1e-9
        drawn = Counter(int(i) for i in rng.choice(len(solved), size, p=weights / weights.sum()))
        return [(solved[i].prompt, count) for i, count in sorted(drawn.items())]

    def learn(self, rollouts: Rollouts) -> Report:
        """Answer the search, or take a gradient step and record the hard problems."""
        if self.search is not None:
            return self._learn_search(rollouts)
        for task in rollouts.tasks:
            scored = [e for e in rollouts.on(task) if e.scored and e.turns]
            # One lucky success is not a learned skill; two are taken as solvable by RL alone.
            if not scored or sum(e.success for e in scored) > 1:
                self.candidates.pop(task, None)
                continue
            tokens = scored[0].turns[0].completion.tokens
            # Under a template the first prompt is the template's; the plain one was stored before.
            if task in self.hard or tokens is not None:
                self.candidates[task] = self.hard.get(task) or (tokens.prompt if tokens else ())
        prompts = self.hard if self.templates else {}
        return self.rl.learn(rollouts, prompts) | Report({"hard": float(len(self.candidates))})

    def _learn_search(self, rollouts: Rollouts) -> Report:
        assert self.search is not None, "a search is in progress"
        with self.reflection.on(rollouts) as propose:
            self.search.learn(rollouts, propose)
        position = rollouts.round.index % (self.config.train + self.config.fast)
        if position == self.config.train + self.config.fast - 1:
            pool, tasks = self.search.pool, list(self.hard)
            chosen = pareto_cover([c.scores for c in pool], self.config.templates)
            self.templates = tuple(
                HintTemplate(pool[i].prompt, dict(zip(tasks, pool[i].scores, strict=True)))
                for i in chosen
            )
            self.search = None
        metrics = {"templates": float(len(self.templates)), "sequences": 0.0}
        return Report(metrics) | self.reflection.report()

    def final_agent(self) -> Agent:
        """The initial prompt without a template, with the trained weights."""
        return Agent(self.context.initial_prompt, self.context.policy.version)

    def state(self) -> Mapping[str, JSON]:
        """The hard problems, the templates, and the search while there is one."""
        return {
            "hard": {str(t): list(ids) for t, ids in self.hard.items()},
            "found": {str(t): list(ids) for t, ids in self.candidates.items()},
            "templates": [
                {**prompt_record(t.prompt), "scores": {str(k): s for k, s in t.scores.items()}}
                for t in self.templates
            ],
            "search": None if self.search is None else self.search.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore all of it; another method's state is a run error."""
        if "hard" not in state or "templates" not in state:
            raise RunError(
                "The checkpoint holds no hard problems; was it written by another method? "
                "Resume it with the method in its resolved config."
            )
        self.hard = {task_from_text(t): tuple(ids) for t, ids in state["hard"].items()}
        self.candidates = {task_from_text(t): tuple(ids) for t, ids in state["found"].items()}
        self.templates = tuple(
            HintTemplate(
                prompt_from_json(record),
                {task_from_text(t): score for t, score in record["scores"].items()},
            )
            for record in state["templates"]
        )
        self.search = None if state["search"] is None else GEPASearch.restored(state["search"])


SPEC = MethodSpec(P2OConfig, P2O, trains=True, card=card)
