"""Methods on calibration environments without a run directory, for checks and experiments."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import agents
from agents.context import MethodContext
from envs import calibration
from harness.arena import Arena
from harness.budget import BudgetPlan, Shape
from harness.callbacks import Callback
from harness.env_pool import EnvPool
from harness.metered import Meter, Metered, metered
from harness.method import Method
from harness.policies import open_policy
from harness.policies.base import Policy, Sampling
from harness.rollout import RolloutConfig, rollout
from harness.seeds import Seeds
from harness.settings.model import ModelSettings
from harness.types import Agent, Assignment, Report, Split, SystemPrompt, Task

WORLDS: dict[str, type[calibration.Calibration]] = {
    "told": calibration.Told,
    "shown": calibration.Shown,
    "both": calibration.Both,
    "neither": calibration.Neither,
}


@dataclass
class Setting:
    """One world, one model, one method."""

    world: str
    model: str
    method: str = "base"
    world_seed: int = 0
    rounds: int = 20
    shape: Shape = field(default_factory=lambda: Shape(8, 2, 5))
    root: SystemPrompt | None = None
    options: dict[str, object] = field(default_factory=dict)
    lora_rank: int = 8
    reflector: str = "reference"

    def world_of(self, split: Split) -> calibration.Calibration:
        """The setting's environment."""
        return WORLDS[self.world](split=split, world_seed=self.world_seed)

    def prompts(self) -> tuple[SystemPrompt, SystemPrompt]:
        """The initial prompt, and the one that states all there is to know."""
        world = self.world_of("train")
        return SystemPrompt(world.system_prompt), SystemPrompt(world.system_prompt, world.truths)


ACTING = Sampling(temperature=1.0, max_tokens=64)
REFLECTING = Sampling(temperature=1.0, max_tokens=96)


def opened(setting: Setting) -> Metered:
    """The setting's model, on one thread."""
    settings = ModelSettings(device="cpu", threads=1, batch_rows=64, lora_rank=setting.lora_rank)
    return metered(open_policy(setting.model, settings), Meter(Callback()))


def trained(
    setting: Setting, policy: Policy, told: Callable[[int, float, Report], None] | None = None
) -> Method:
    """The method after its rounds; `told` hears of each: its number, mean reward and report."""
    plan = BudgetPlan(setting.shape, setting.rounds, 0)
    seeds = Seeds(setting.world_seed).child("train")
    size = setting.world_of("train").size("train")
    arena = Arena(setting.world_of, size, policy, plan, ACTING, seeds)  # type: ignore[arg-type]
    base = getattr(policy, "reference", policy)
    reflector = base if setting.reflector == "reference" else policy
    context = MethodContext(
        setting.root or setting.prompts()[0],
        policy,
        reflector,
        ACTING,
        REFLECTING,
        validation_tasks=setting.world_of("validation").size("validation"),
    )
    config = agents.config_type(setting.method)(**setting.options)
    method = agents.make(setting.method, config, context)
    for round in arena.rounds():
        rollouts = arena.rollout(method.assign(round))
        report = method.learn(rollouts)
        if told:
            told(round.index, rollouts.mean(), report)
    return method


def score(setting: Setting, policy: Policy, agent: Agent, samples: int = 4) -> float:
    """Mean reward on the test split at temperature 1; `policy` must be at the agent's version."""
    tasks = [Task("test", n) for n in range(setting.world_of("test").size("test"))]
    cells = [Assignment(agent.prompt, task, samples) for task in tasks]
    table = RolloutConfig(
        policy,
        EnvPool(setting.world_of),
        ACTING,
        Seeds(setting.world_seed).child("test"),
        purpose="evaluate",
    )
    rewards = [episode.reward for _, episode in rollout(cells, table)]
    return sum(rewards) / len(rewards)


def scores(setting: Setting, policy: Policy, samples: int) -> Iterator[tuple[str, float]]:
    """Test scores of the policy with the initial prompt and with the true principles."""
    for name, prompt in zip(("root", "principles"), setting.prompts(), strict=True):
        yield name, score(setting, policy, Agent(prompt, policy.version), samples)
