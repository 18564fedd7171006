"""The log of a run for its page, as plain values that the caller read from a run directory."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RoundLog:
    """One round (iteration) of training.

    `reward` is the round's mean, None if nothing was scored; counts and seconds are totals since
    the start of the run. `ratings` are (μ, σ) by prompt id, `lines` a summary of the update.
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
class PopulationMember:
    """A prompt that was in the run's population: text, parents, and the round that made it.

    `mu` and `sigma` are its last rating; None for a method without ratings. `evaluations` counts
    the rounds that used it.
    """

    id: str
    principles: tuple[str, ...]
    parents: tuple[str, ...]
    origin: str
    generation: int
    mu: float | None = None
    sigma: float | None = None
    evaluations: int = 0


@dataclass(frozen=True, slots=True)
class EpisodeLog:
    """One episode; every turn is (observation, completion).

    `round` is None for a test episode. An observation is "" where it may not be published;
    `task_hash` then identifies the text.
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
    """The log of one run.

    `selected` is the id of the selected prompt. `tests` are the test episodes, `training` a sample
    of the `trained` training episodes. `texts`: the environment's texts may be published; if not,
    no episode holds any.
    """

    rounds: tuple[RoundLog, ...] = ()
    prompts: tuple[PopulationMember, ...] = ()
    selected: str = ""
    tests: tuple[EpisodeLog, ...] = ()
    training: tuple[EpisodeLog, ...] = ()
    trained: int = 0
    texts: bool = False

    def __post_init__(self) -> None:
        if not self.texts and any(
            _holds_text(episode) for episode in (*self.tests, *self.training)
        ):
            raise ValueError(
                "A run holds observations of an environment whose texts may not be published; "
                "give ids, hashes and completions only."
            )


def _holds_text(episode: EpisodeLog) -> bool:
    return bool(episode.feedback) or any(observation for observation, _ in episode.turns)
