"""What a run page can tell beyond its entry: plain values, as somebody read them from a run."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoggedRun:
    """One round: what was played and learnt.

    `reward` is the round's mean, None where nothing was scored; the other numbers are sums since
    the run began. `ratings` are (μ, σ) by prompt id, `lines` what was learnt, in words.
    """

    round: int
    reward: float | None
    episodes: int
    acting_tokens: int
    reflection_tokens: int
    gradient_steps: int
    seconds: float
    ratings: Mapping[str, tuple[float, float]]
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lived:
    """A prompt that was in the run's population: its text, its parents, when it was born.

    `mu` and `sigma` are its last rating; None for a method that does not rate.
    """

    id: str
    principles: tuple[str, ...]
    parents: tuple[str, ...]
    origin: str
    born: int
    mu: float | None = None
    sigma: float | None = None
    played: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One episode: every turn is (what the world said, what was replied).

    `round` is None for a test episode. What the world said is "" where it may not be told, and then
    `task_hash` says which text it was.
    """

    round: int | None
    prompt: str
    task: str
    sample: int
    status: str
    reward: float | None
    success: bool | None
    tokens: int
    turns: tuple[tuple[str, str], ...]
    feedback: str = ""
    task_hash: str = ""


@dataclass(frozen=True, slots=True)
class RunLog:
    """A run as its folder tells it.

    `tests` are the test episodes, `training` a choice of the `trained` training episodes.
    `texts` says whether the world's texts may be published; where not, no attempt holds any.
    """

    rounds: tuple[LoggedRun, ...] = ()
    prompts: tuple[Lived, ...] = ()
    champion: str = ""
    tests: tuple[Attempt, ...] = ()
    training: tuple[Attempt, ...] = ()
    trained: int = 0
    texts: bool = False

    def __post_init__(self) -> None:
        if not self.texts and any(_tells(attempt) for attempt in (*self.tests, *self.training)):
            raise ValueError(
                "A run of a world whose texts may not be published holds what the world said; "
                "give ids, hashes and replies only."
            )


def _tells(attempt: Attempt) -> bool:
    return bool(attempt.feedback) or any(said for said, _ in attempt.turns)
