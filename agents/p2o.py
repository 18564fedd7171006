"""P2O (zlkqz/P2O): RL, with evolved templates for hard problems, distilled away in the step."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from agents.context import MethodContext, MethodSpec
from agents.gepa import GEPAConfig, begin
from agents.parts.gepa.reflection import Improver, Style
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
from agents.validation import one_of, within
from harness.errors import RunError
from harness.round_data import Rollouts, Round
from harness.types import JSON, Agent, Assignment, Report, SystemPrompt, Task

Ids = tuple[int, ...]


@dataclass(frozen=True)
class P2OConfig(WeightsConfig):
    """The source: GRPO, lr 1e-6 on full weights, no KL, an epoch of training between searches."""

    loss: LossName = "grpo"
    """GRPO, with no KL."""
    baseline: Baseline = "problem"
    """All replies to a problem are one group, whatever their template."""
    correction: CorrectionName = "hard_clip"
    """Tokens whose ratio without and with the template is outside 0.01 to 10 are masked."""
    train: int = 5
    """Rounds of RL between searches; the source takes an epoch. Ours."""
    fast: int = 5
    """Rounds of GEPA on the hard problems; the source's budget is gepa's "heavy", n = 72. Ours."""
    least: int = 3
    """Hard problems without which no search is begun; the source asks for 100. Ours."""
    share: float = 0.5
    """Of a round's problems, how many hard ones come back: the source meets them again in its next
    epoch, and short budgets have no second one. Ours."""
    templates: int = 4
    """Templates that the set cover picks at most. Not stated in the source; ours."""
    reflection: Style = "auto"
    """As in GEPA's settings; the source reflects with the reference model, or a larger one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("train", "fast", "least", "templates"):
            within(name, getattr(self, name), 1)
        within("share", self.share, 0, 1)
        one_of("reflection", self.reflection, get_args(Style))


@dataclass(frozen=True, slots=True)
class HintTemplate:
    """A prompt for hard problems, with its mean reward on each."""

    prompt: SystemPrompt
    scores: Mapping[Task, float]


class P2O:
    """Prompt-augmented policy optimisation: RL that gets at hard problems by way of templates.

    A problem with at most one right reply in its group is hard. GEPA evolves templates on these;
    afterwards each reply to one draws a template among those that solved it. The step then reads
    such replies under the plain prompt, so that no template is needed at test time.
    """

    def __init__(self, config: P2OConfig, inputs: MethodContext) -> None:
        self.config = config
        self.inputs = inputs
        self.rl = RL(config, inputs)
        self.improver = Improver(inputs, config.reflection, EditLimits())
        self.hard: dict[Task, Ids] = {}  # with the plain prompt's tokens
        self.found: dict[Task, Ids] = {}  # hard since the last search
        self.templates: tuple[HintTemplate, ...] = ()
        self.search: GEPASearch | None = None

    def cast(self, round: Round) -> list[Assignment]:
        """In a search what GEPA wants; else plain groups, and hard problems under templates."""
        position = round.index % (self.config.train + self.config.fast)
        if position == self.config.train and len(self.found) >= self.config.least:
            self.hard, self.found = self.found, {}
            self.search = begin(self.inputs.root, list(self.hard), round, GEPAConfig())
        if self.search is not None:
            return self.search.cast(round)
        size, rng = round.prompts * round.samples, round.rng("templates")
        tasks = self._tasks(round, rng)
        return [
            Assignment(prompt, task, samples)
            for task in tasks
            for prompt, samples in self._drawn(task, size, rng)
        ]

    def _tasks(self, round: Round, rng: np.random.Generator) -> list[Task]:
        """The round's problems, of which hard ones that come back take the first places."""
        if not self.templates:
            return list(round.tasks)
        others = [t for t in self.hard if t not in round.tasks]
        count = min(len(others), int(self.config.share * len(round.tasks)))
        back = [others[int(i)] for i in rng.choice(len(others), count, replace=False)]
        return [*back, *round.tasks[count:]]

    def _drawn(
        self, task: Task, size: int, rng: np.random.Generator
    ) -> Sequence[tuple[SystemPrompt, int]]:
        """For a hard problem a template a reply, by its score, among those that solved it."""
        if task not in self.hard or not self.templates:
            return [(self.inputs.root, size)]
        solved = [t for t in self.templates if t.scores.get(task, 0.0) > 0] or self.templates
        weights = np.array([sum(t.scores.values()) for t in solved]) + 1e-9
        drawn = Counter(int(i) for i in rng.choice(len(solved), size, p=weights / weights.sum()))
        return [(solved[i].prompt, count) for i, count in sorted(drawn.items())]

    def learn(self, rollouts: Rollouts) -> Report:
        """Search on, or take a step and note what was hard."""
        if self.search is not None:
            return self._searched(rollouts)
        for task in rollouts.tasks:
            scored = [e for e in rollouts.on(task) if e.scored and e.turns]
            if not scored or sum(e.success for e in scored) > 1:
                self.found.pop(task, None)
                continue
            tokens = scored[0].turns[0].completion.tokens
            if task in self.hard or tokens is not None:
                self.found[task] = self.hard.get(task) or (tokens.prompt if tokens else ())
        contexts = self.hard if self.templates else {}
        return self.rl.learn(rollouts, contexts) | Report({"hard": float(len(self.found))})

    def _searched(self, rollouts: Rollouts) -> Report:
        assert self.search is not None, "a search is under way"
        with self.improver.on(rollouts) as improve:
            self.search.learn(rollouts, improve)
        position = rollouts.round.index % (self.config.train + self.config.fast)
        if position == self.config.train + self.config.fast - 1:
            pool, tasks = self.search.pool, list(self.hard)
            chosen = pareto_cover([c.scores for c in pool], self.config.templates)
            self.templates = tuple(
                HintTemplate(pool[i].prompt, dict(zip(tasks, pool[i].scores, strict=True)))
                for i in chosen
            )
            self.search = None
        numbers = {"templates": float(len(self.templates)), "sequences": 0.0}
        return Report(numbers) | self.improver.report()

    def champion(self) -> Agent:
        """The root prompt, without any template, with the weights as they are now."""
        return Agent(self.inputs.root, self.inputs.policy.version)

    def state(self) -> Mapping[str, JSON]:
        """What is hard, the templates, and the search while it lasts."""
        return {
            "hard": {str(t): list(ids) for t, ids in self.hard.items()},
            "found": {str(t): list(ids) for t, ids in self.found.items()},
            "templates": [
                {**prompt_record(t.prompt), "scores": {str(k): s for k, s in t.scores.items()}}
                for t in self.templates
            ],
            "search": None if self.search is None else self.search.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take all of it back; another method's state is a run error."""
        if "hard" not in state or "templates" not in state:
            raise RunError(
                "The checkpoint holds no hard problems; was it written by another method? "
                "Resume it with the method in its resolved config."
            )
        self.hard = {task_from_text(t): tuple(ids) for t, ids in state["hard"].items()}
        self.found = {task_from_text(t): tuple(ids) for t, ids in state["found"].items()}
        self.templates = tuple(
            HintTemplate(
                prompt_from_json(record),
                {task_from_text(t): score for t, score in record["scores"].items()},
            )
            for record in state["templates"]
        )
        self.search = None if state["search"] is None else GEPASearch.restored(state["search"])


SPEC = MethodSpec(P2OConfig, P2O, trains=True, card=card)
