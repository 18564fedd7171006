"""The log of a run for its page, as plain values that the caller read from a run directory."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from leaderboards.records.entry import Entry, Outcome


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
    no episode holds any. `of_entry`: it was made from an entry, without the run's own logs.
    """

    rounds: tuple[RoundLog, ...] = ()
    prompts: tuple[PopulationMember, ...] = ()
    selected: str = ""
    tests: tuple[EpisodeLog, ...] = ()
    training: tuple[EpisodeLog, ...] = ()
    trained: int = 0
    texts: bool = False
    of_entry: bool = False

    def __post_init__(self) -> None:
        if not self.texts and any(
            _holds_text(episode) for episode in (*self.tests, *self.training)
        ):
            raise ValueError(
                "A run holds observations of an environment whose texts may not be published; "
                "give ids, hashes and completions only."
            )


def log_of(entry: Entry) -> RunLog | None:
    """The log as far as an entry of schema 3 holds one; None if it holds none."""
    if not (entry.learning_curve or entry.population or entry.task_texts):
        return None
    rounds = (
        RoundLog(
            round=point.iteration,
            reward=point.reward,
            episodes=point.episodes,
            acting_tokens=point.acting_tokens,
            reflection_tokens=point.reflection_tokens,
            gradient_steps=point.gradient_steps,
            seconds=point.seconds,
            ratings={},
        )
        for point in entry.learning_curve
    )
    texts = {one.task: one.text for one in entry.task_texts}
    selected = [p.id for p in entry.population if p.principles == entry.prompt.principles]
    return RunLog(
        rounds=tuple(rounds),
        prompts=tuple(PopulationMember(**asdict(prompt)) for prompt in entry.population),
        selected=selected[-1] if selected else "",
        tests=tuple(_test(o, texts[o.task]) for o in entry.outcomes if o.task in texts),
        texts=bool(texts),
        of_entry=True,
    )


def _test(outcome: Outcome, text: str) -> EpisodeLog:
    """A test episode as an entry holds it: later observations are not there."""
    reply = outcome.reply
    replies = () if reply is None else (reply,) if isinstance(reply, str) else reply
    return EpisodeLog(
        round=None,
        prompt="",
        task=outcome.task,
        sample=outcome.sample,
        status=outcome.status,
        reward=outcome.reward,
        success=outcome.success,
        tokens=outcome.tokens,
        turns=tuple((text if n == 0 else "", reply) for n, reply in enumerate(replies)),
    )


def _holds_text(episode: EpisodeLog) -> bool:
    return bool(episode.feedback) or any(observation for observation, _ in episode.turns)
