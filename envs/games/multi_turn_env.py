"""The base of environments of several turns; the reply that ends an episode gets the verdict.

Nothing is kept from one episode to the next: `start_episode` makes all that an episode needs.
"""

from abc import abstractmethod
from typing import Any

from envs.grading.thoughts import answer_part
from envs.text_env import Problem, TextEnv
from envs.verdict import Verdict

UNFINISHED = "The game was not brought to its end."


class MultiTurnEnv(TextEnv):
    """A text environment whose episodes go on until there is a verdict or its turns are used up.

    The reward of every turn but the last is 0. What `respond` returns is either what the game says
    next or the verdict that ends it.
    """

    @abstractmethod
    def start_episode(self, problem: Problem) -> None:
        """Set up a task; nothing of an abandoned episode may matter."""

    @abstractmethod
    def respond(self, reply: str) -> str | Verdict:
        """One turn: the next observation, or the verdict that ends the episode."""

    @abstractmethod
    def reference_reply(self) -> str:
        """A reply on the way to the full reward, from what has happened so far."""

    def oracle(self) -> str:
        """A reply on the way to the full reward; raises ResetNeeded where no game is on."""
        # `current` itself raises ResetNeeded.
        assert self.current
        return self.reference_reply()

    def verdict_at_limit(self) -> Verdict | None:
        """The verdict once the environment's own limit of turns is reached; None before."""
        return None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start task `seed` of the split, or one drawn from the environment's own generator."""
        observation, info = super().reset(seed=seed, options=options)
        self.start_episode(self.current)
        return observation, info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Process one reply. A turn beyond the environment's limit truncates the episode."""
        problem = self.current
        observation = self.respond(answer_part(action))  # a thought is no move
        ended = observation if isinstance(observation, Verdict) else None
        limit_verdict = self.verdict_at_limit() if ended is None else None
        verdict = ended or limit_verdict
        if verdict is None:
            info = {"outcome": "scored", "success": False, "feedback": UNFINISHED}
            return str(observation), 0.0, False, False, self.task_info(problem) | info
        self._current = None
        info = {
            "outcome": verdict.outcome,
            "success": verdict.success,
            "feedback": self.feedback(verdict, problem),
        }
        step_info = self.task_info(problem) | info
        return "", verdict.reward, ended is not None, limit_verdict is not None, step_info
