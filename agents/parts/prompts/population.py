"""The population: prompts, how good they are believed to be, and where they come from. Immutable;
every change is a new population. It knows nothing of models.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from harness.errors import RunError
from harness.types import JSON, Rating, SystemPrompt

START = Rating()
"""μ0 = 25, σ0 = 25/3 (E-SPL App. B)."""


@dataclass(frozen=True, slots=True)
class Member:
    """A prompt with its rating, the round it was born in, and how many rounds it was rated in."""

    prompt: SystemPrompt
    rating: Rating = START
    born: int = 0
    played: int = 0


@dataclass(frozen=True, slots=True)
class Population:
    """Members from the oldest to the newest; no prompt twice."""

    members: tuple[Member, ...]

    @classmethod
    def of(cls, root: SystemPrompt) -> "Population":
        """The population every run starts from (E-SPL Alg. 1)."""
        return cls((Member(root),))

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members)

    def __contains__(self, id: str) -> bool:
        return any(m.prompt.id == id for m in self.members)

    def __getitem__(self, id: str) -> Member:
        """The member of that prompt id; KeyError where there is none."""
        for member in self.members:
            if member.prompt.id == id:
                return member
        raise KeyError(id)

    @property
    def newest(self) -> Member:
        """The last one admitted."""
        return self.members[-1]

    def window(self, size: int) -> tuple[Member, ...]:
        """The newest `size` members: who may be selected (E-SPL Alg. 1)."""
        return self.members[-size:]

    def rated(self, ratings: Mapping[str, Rating]) -> "Population":
        """The same members after a match; who is rated has played once more."""
        return Population(
            tuple(
                replace(m, rating=ratings[m.prompt.id], played=m.played + 1)
                if m.prompt.id in ratings
                else m
                for m in self.members
            )
        )

    def admit(self, children: Iterable[Member], limit: int) -> "Population":
        """With the children as the newest, at most `limit` members: the oldest leave first.

        A child whose prompt is already here is not admitted again.
        """
        members = list(self.members)
        for child in children:
            if all(m.prompt.id != child.prompt.id for m in members):
                members.append(child)
        return Population(tuple(members[-limit:]))

    def lineage(self, id: str) -> tuple[str, ...]:
        """The prompt's id, its first parent's, and so on, as far back as members are kept."""
        line = [id]
        while id in self and (parents := self[id].prompt.parents) and parents[0] not in line:
            id = parents[0]
            line.append(id)
        return tuple(line)

    def to_json(self) -> list[dict[str, JSON]]:
        """One record a member, oldest first: what `show` prints and a checkpoint keeps."""
        return [
            {
                "id": m.prompt.id,
                "text": m.prompt.text,
                **asdict(m.prompt),
                "mu": m.rating.mu,
                "sigma": m.rating.sigma,
                "born": m.born,
                "played": m.played,
            }
            for m in self.members
        ]

    @classmethod
    def from_json(cls, records: Sequence[JSON]) -> "Population":
        """Read back what `to_json` gave; a record that contradicts its id is a run error."""
        return cls(
            tuple(_member(record if isinstance(record, Mapping) else {}) for record in records)
        )


def prompt_from_json(record: Mapping[str, JSON]) -> SystemPrompt:
    """A prompt from a record's `briefing`, `principles`, `parents` and `origin`."""
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
