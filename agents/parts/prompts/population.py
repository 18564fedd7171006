"""The population of system prompts with ratings and lineage. Immutable."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from harness.errors import RunError
from harness.types import JSON, Rating, SystemPrompt

START = Rating()
"""μ0 = 25, σ0 = 25/3 (E-SPL App. B)."""


@dataclass(frozen=True, slots=True)
class Member:
    """A prompt with its rating, the round that created it (`generation`), and its matches."""

    prompt: SystemPrompt
    rating: Rating = START
    generation: int = 0
    evaluations: int = 0


@dataclass(frozen=True, slots=True)
class Population:
    """Members from the oldest to the newest; no prompt twice. With its parent links, a tree."""

    members: tuple[Member, ...]

    @classmethod
    def of(cls, root: SystemPrompt) -> "Population":
        """The initial population: one root (E-SPL Alg. 1)."""
        return cls((Member(root),))

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members)

    def __contains__(self, id: str) -> bool:
        return any(m.prompt.id == id for m in self.members)

    def __getitem__(self, id: str) -> Member:
        """The member with that prompt id; KeyError where there is none."""
        for member in self.members:
            if member.prompt.id == id:
                return member
        raise KeyError(id)

    @property
    def newest(self) -> Member:
        """The member admitted last."""
        return self.members[-1]

    def window(self, newest_k: int) -> tuple[Member, ...]:
        """The newest K members, those that may be selected (E-SPL Alg. 1)."""
        return self.members[-newest_k:]

    def rated(self, ratings: Mapping[str, Rating]) -> "Population":
        """The population after a match, given the new ratings of the prompts that took part."""
        return Population(
            tuple(
                replace(m, rating=ratings[m.prompt.id], evaluations=m.evaluations + 1)
                if m.prompt.id in ratings
                else m
                for m in self.members
            )
        )

    def admit(self, offspring: Iterable[Member], size: int) -> "Population":
        """The population with the offspring as its newest, first in first out beyond `size`.

        Offspring with the text of a member is dropped: it would compete against itself.
        """
        members = list(self.members)
        for child in offspring:
            if all(m.prompt.id != child.prompt.id for m in members):
                members.append(child)
        return Population(tuple(members[-size:]))

    def lineage(self, id: str) -> tuple[str, ...]:
        """Prompt ids from this one to its first parent, and so on, as far back as members go."""
        line = [id]
        # A prompt can be written again by its own descendant, so parent links may form a cycle.
        while id in self and (parents := self[id].prompt.parents) and parents[0] not in line:
            id = parents[0]
            line.append(id)
        return tuple(line)

    def to_json(self) -> list[dict[str, JSON]]:
        """One record per member, oldest first, for checkpoints and `harness show`."""
        return [
            {
                "id": m.prompt.id,
                "text": m.prompt.text,
                **asdict(m.prompt),
                "mu": m.rating.mu,
                "sigma": m.rating.sigma,
                "born": m.generation,
                "played": m.evaluations,
            }
            for m in self.members
        ]

    @classmethod
    def from_json(cls, records: JSON) -> "Population":
        """The population that `to_json` wrote.

        Raises:
            RunError: There are no records, or one contradicts its id.
        """
        if isinstance(records, str) or not isinstance(records, Sequence) or not records:
            raise RunError(
                "The checkpoint holds no population; was it written by another method? "
                "Resume it with the method in its resolved config."
            )
        return cls(tuple(_member(r if isinstance(r, Mapping) else {}) for r in records))


def prompt_from_json(record: Mapping[str, JSON]) -> SystemPrompt:
    """A prompt from a record's `briefing`, `principles`, `parents` and `origin`.

    Raises:
        RunError: A field is missing, or the text does not hash to the recorded id.
    """
    try:
        prompt = SystemPrompt(
            str(record["briefing"]),
            _strings(record["principles"]),
            _strings(record["parents"]),
            str(record["origin"]),
        )
        if prompt.id == record["id"]:
            return prompt
        problem = f"its text has the id {prompt.id}"
    except (KeyError, TypeError) as error:
        problem = f"{type(error).__name__} {error}"
    raise RunError(
        f"The prompt recorded as {record.get('id')} is damaged: {problem}; "
        "start the run again, or restore its checkpoint from a copy."
    )


def _strings(value: JSON) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError("is no list of texts")
    return tuple(str(v) for v in value)


def _member(record: Mapping[str, JSON]) -> Member:
    prompt = prompt_from_json(record)
    try:
        rating = Rating(float(record["mu"]), float(record["sigma"]))  # type: ignore[arg-type]  # checked by the except
        return Member(prompt, rating, int(record["born"]), int(record["played"]))  # type: ignore[arg-type]  # as above
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"The rating recorded for prompt {prompt.id} is damaged ({error!r}); "
            "start the run again, or restore its checkpoint from a copy."
        ) from error
