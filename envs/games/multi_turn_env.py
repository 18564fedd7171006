"""What worlds of several turns have in common: a task is opened, replies are heard one by one, and
the one that ends the game carries the verdict.

Nothing is remembered from one episode to the next: whatever a game needs is made by `begin`.
"""

from abc import abstractmethod
from typing import Any

from envs.text_env import Problem, TextEnv
from envs.verdict import Verdict

UNFINISHED = "The game was not brought to its end."


class Game(TextEnv):
    """A text world whose episodes go on until the game has a verdict or its turns are used up.

    The reward of every turn but the last is 0. What `hear` returns is either what the game says
    next or the verdict that ends it.
    """

    @abstractmethod
    def begin(self, problem: Problem) -> None:
        """Lay out a task; what an abandoned episode left behind must not matter."""

    @abstractmethod
    def hear(self, reply: str) -> str | Verdict:
        """One turn: the next observation, or how the game ended."""

    @abstractmethod
    def best_reply(self) -> str:
        """A reply on the way to the full reward, from what has happened so far."""

    def oracle(self) -> str:
        """A reply on the way to the full reward; raises ResetNeeded where no game is on."""
        assert self.current
        return self.best_reply()

    def overtime(self) -> Verdict | None:
        """The verdict where the world's own limit of turns is reached; None while it is not."""
        return None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start task `seed` of the split, or one drawn from the environment's own generator."""
        said, info = super().reset(seed=seed, options=options)
        self.begin(self.current)
        return said, info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Hear one reply. A turn beyond the world's limit truncates the episode."""
        problem = self.current
        said = self.hear(action)
        ended = said if isinstance(said, Verdict) else None
        late = self.overtime() if ended is None else None
        verdict = ended or late
        if verdict is None:
            info = {"outcome": "scored", "success": False, "feedback": UNFINISHED}
            return str(said), 0.0, False, False, self.task_info(problem) | info
        self._current = None
        info = {
            "outcome": verdict.outcome,
            "success": verdict.success,
            "feedback": self.feedback(verdict, problem),
        }
        told = self.task_info(problem) | info
        return "", verdict.reward, ended is not None, late is not None, told
