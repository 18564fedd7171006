"""An encyclopedia of a world that does not exist, and questions whose answers are only there.

A seed draws three regions, one for each split, with articles of their own: no article that a
training question leads through is needed for a test question. Every article has a title no other
has, and states a few facts, each in one sentence; a fact has one value, so a question that follows
facts from a named thing has one answer. Nothing is downloaded, and no name is a real one on
purpose.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from envs.text_env import SPLITS, Split

GENERATOR_VERSION = "1"
MAX_HOPS = 3


@dataclass(frozen=True, slots=True)
class Relation:
    """A fact about things of one kind: how an article says it, how it describes its value inside a
    longer question, how it is asked for last, and the kind of its value ("" for a number between
    `low` and `high` of some `unit`).

    {} stands for the thing, {value} for the value.
    """

    sentence: str
    description: str
    question: str
    value: str
    low: int = 0
    high: int = 0
    unit: str = ""

    def accepted(self, value: str) -> tuple[str, ...]:
        """A value as it may be answered: alone, or as it is called."""
        called = _CALLED[self.value] if self.value else f"{{}} {self.unit}".strip()
        return tuple(dict.fromkeys((value, called.replace("{}", value))))


_KINDS: Mapping[str, tuple[Relation, ...]] = {
    "person": (
        Relation(
            "{} was born in {value}.",
            "the town where {} was born",
            "In which town was {} born?",
            "town",
        ),
        Relation("{} studied under {value}.", "the teacher of {}", "Who taught {}?", "person"),
        Relation(
            "{} belonged to the {value} guild.",
            "the guild of {}",
            "To which guild did {} belong?",
            "guild",
        ),
    ),
    "town": (
        Relation(
            "{} lies on the river {value}.",
            "the river that flows through {}",
            "Which river flows through {}?",
            "river",
        ),
        Relation("{} was founded by {value}.", "the founder of {}", "Who founded {}?", "person"),
        Relation(
            "{} was founded in the year {value}.",
            "",
            "In which year was {} founded?",
            "",
            low=101,
            high=999,
        ),
    ),
    "river": (
        Relation(
            "{} rises on mount {value}.",
            "the mountain where {} rises",
            "On which mountain does {} rise?",
            "mountain",
        ),
        Relation(
            "{} is {value} miles long.", "", "How many miles long is {}?", "", 101, 999, "miles"
        ),
    ),
    "mountain": (
        Relation(
            "{} was first climbed by {value}.",
            "the first climber of {}",
            "Who first climbed {}?",
            "person",
        ),
        Relation(
            "{} is {value} feet high.", "", "How many feet high is {}?", "", 1001, 9999, "feet"
        ),
    ),
    "guild": (
        Relation(
            "{} meets in {value}.",
            "the town where {} meets",
            "In which town does {} meet?",
            "town",
        ),
        Relation("{} is led by {value}.", "the leader of {}", "Who leads {}?", "person"),
    ),
    "book": (
        Relation("{} was written by {value}.", "the author of {}", "Who wrote {}?", "person"),
        Relation(
            "{} is kept in {value}.",
            "the town where {} is kept",
            "In which town is {} kept?",
            "town",
        ),
        Relation(
            "{} was finished in the year {value}.",
            "",
            "In which year was {} finished?",
            "",
            low=101,
            high=999,
        ),
    ),
}
_CALLED = {
    "person": "{}",
    "town": "{}",
    "river": "the river {}",
    "mountain": "mount {}",
    "guild": "the {} guild",
    "book": "the book {}",
}
_SHARES: Mapping[Split, Mapping[str, int]] = {
    "train": {"person": 30, "town": 12, "river": 8, "mountain": 8, "guild": 8, "book": 14},
    "validation": {"person": 12, "town": 5, "river": 4, "mountain": 4, "guild": 4, "book": 6},
    "test": {"person": 20, "town": 8, "river": 6, "mountain": 6, "guild": 6, "book": 9},
}
"""The number of things of each kind in a region."""

_SOUNDS = """
b br d dr f g gr h j k kr l m n p pr r s sk st t tr v vr w y z
a e i o u ai ea ou
l m n r s sk th x k nd
"""
_ONSETS, _VOWELS, _CODAS = (line.split() for line in _SOUNDS.split("\n")[1:4])


@dataclass(frozen=True, slots=True)
class Article:
    """One thing: its title, its kind, and its facts in order of the kind's relations."""

    title: str
    kind: str
    values: tuple[str, ...]

    @property
    def text(self) -> str:
        """A sentence for each fact, with the thing's name in every one."""
        called = _CALLED[self.kind].replace("{}", self.title)
        facts = zip(_KINDS[self.kind], self.values, strict=True)
        lines = [r.sentence.replace("{value}", value).replace("{}", called) for r, value in facts]
        return " ".join(line[0].upper() + line[1:] for line in lines)


@dataclass(frozen=True, slots=True)
class Puzzle:
    """A question, its accepted answers, and the titles of the articles on the way, in order."""

    text: str
    answers: tuple[str, ...]
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Encyclopedia:
    """All articles by title, and the questions of each split by number of hops."""

    articles: Mapping[str, Article]
    puzzles: Mapping[Split, Mapping[int, tuple[Puzzle, ...]]]


def draw_encyclopedia(seed: int) -> Encyclopedia:
    """The encyclopedia that a seed draws."""
    rng = random.Random(f"encyclopedia {GENERATOR_VERSION} {seed}")
    words: set[str] = set()
    articles: dict[str, Article] = {}
    puzzles: dict[Split, Mapping[int, tuple[Puzzle, ...]]] = {}
    for split in SPLITS:
        region = _region(rng, _SHARES[split], words)
        articles |= region
        puzzles[split] = _puzzles(rng, region)
    return Encyclopedia(articles, puzzles)


def _word(rng: random.Random, taken: set[str]) -> str:
    """A name nothing else in the world has any part of."""
    while True:
        syllables = [rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(2)]
        word = "".join(syllables) + rng.choice(_CODAS)
        if word not in taken:
            taken.add(word)
            return word.capitalize()


def _region(rng: random.Random, shares: Mapping[str, int], taken: set[str]) -> dict[str, Article]:
    named = {
        kind: [
            " ".join(_word(rng, taken) for _ in range(2 if kind in ("person", "book") else 1))
            for _ in range(count)
        ]
        for kind, count in shares.items()
    }
    return {
        title: Article(title, kind, tuple(_value(rng, r, title, named) for r in _KINDS[kind]))
        for kind, titles in named.items()
        for title in titles
    }


def _value(
    rng: random.Random, relation: Relation, title: str, named: Mapping[str, Sequence[str]]
) -> str:
    if not relation.value:
        return str(rng.randint(relation.low, relation.high))
    # Of the same region: no question leads from one split's articles into another's.
    return rng.choice([name for name in named[relation.value] if name != title])


def _puzzles(rng: random.Random, region: Mapping[str, Article]) -> dict[int, tuple[Puzzle, ...]]:
    """Every question a region allows, shuffled: paths of one to three facts that visit no article
    twice and do not end where they have been.
    """
    made: dict[int, list[Puzzle]] = {hops: [] for hops in range(1, MAX_HOPS + 1)}
    for article in region.values():
        called = _CALLED[article.kind].replace("{}", article.title)
        _follow(region, article, called, (), made)
    for puzzles in made.values():
        rng.shuffle(puzzles)
    return {hops: tuple(puzzles) for hops, puzzles in made.items()}


def _follow(
    region: Mapping[str, Article],
    article: Article,
    description: str,
    path: tuple[str, ...],
    made: Mapping[int, list[Puzzle]],
) -> None:
    here = (*path, article.title)
    for relation, value in zip(_KINDS[article.kind], article.values, strict=True):
        if value in here:
            continue
        question = relation.question.replace("{}", description)
        made[len(here)].append(Puzzle(question, relation.accepted(value), here))
        # A number has no article, so nothing follows from it.
        if relation.value and len(here) < MAX_HOPS:
            further = relation.description.replace("{}", description)
            _follow(region, region[value], further, here, made)
