"""Calibration environments: the gain that each way of learning should reach is known.

All speak the language of `envs.calibration_language`; `world_seed` draws the convention and the
tasks.

- told: single steps with signs nobody explains. Only knowledge that can be said is missing.
- shown: chains of three steps, with every sign explained in the system prompt. Only skill is
  missing.
- both: signs nobody explains; training has single steps and chains of two, test chains of three.
- neither: single steps whose sign means something else in every task. Nothing can be learnt: in
  every split each sign has each meaning equally often, so any fixed belief scores alike.

No task of one split is asked in another.
"""

import random
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from envs.calibration_language import (
    MEANINGS,
    SIGNS,
    Convention,
    distinguishing_pairs,
    meaning_sentence,
    question,
    reserved_for_envs,
    worked_solution,
)
from envs.errors import EnvError
from envs.fingerprint import digest
from envs.text_env import SPLITS, Problem, Split, TextEnv
from envs.verdict import Verdict

GENERATOR_VERSION = "1"
SYSTEM_PROMPT = (
    "Each sign stands for an operation on two digits. Work from left to right, keep the last digit "
    "of every result, and end with Answer: and the digit."
)
# A digit right behind makes it a longer number, which is no answer.
_ANSWER = re.compile(r"answer\s*:\s*([0-9])(?![0-9])", re.IGNORECASE)

CARRIED = ("larger", "smaller", "sum", "next", "previous")
"""Meanings that depend on the first digit: in chains of these, an early slip is not forgotten."""

Asked = tuple[int, tuple[tuple[str, int], ...]]
"""A question: the first digit, then signs and digits."""


def stated_digit(reply: str) -> str | None:
    """The digit after the last "Answer:"; None where no digit stands there."""
    # An answer stands at the end, and a reply may be of any length.
    found = _ANSWER.findall(reply[-2000:])
    return found[-1] if found else None


def chain_questions(
    rng: random.Random, convention: Convention, steps: int, count: int, taken: set[Asked]
) -> list[Asked]:
    """New chains in which every step tells its sign's meaning; adds them to `taken`."""
    made: list[Asked] = []
    while len(made) < count:
        first, asked = rng.randrange(10), list[tuple[str, int]]()
        current = first
        for _ in range(steps):
            links = [
                (s, b)
                for s, m in convention.items()
                for a, b in distinguishing_pairs(m)
                if a == current
            ]
            # No question that starts from this digit tells a sign's meaning: the chain is given up.
            if not links:
                break
            asked.append(rng.choice(links))
            current = MEANINGS[convention[asked[-1][0]]](current, asked[-1][1])
        task = (first, tuple(asked))
        if len(asked) == steps and task not in taken:
            taken.add(task)
            made.append(task)
    return made


def single_step_questions(
    rng: random.Random, convention: Convention, shares: Mapping[Split, int]
) -> dict[Split, list[Asked]]:
    """Single steps: for every sign as many of its telling pairs in each split as asked for."""
    made: dict[Split, list[Asked]] = {split: [] for split in shares}
    for sign, meaning in convention.items():
        pairs = list(distinguishing_pairs(meaning))
        rng.shuffle(pairs)
        for split, count in shares.items():
            made[split] += [(a, ((sign, b),)) for a, b in pairs[:count]]
            # What one split has asked is not left for another.
            del pairs[:count]
    for tasks in made.values():
        rng.shuffle(tasks)
    return made


def draw_distinct(rng: random.Random, signs: int, meanings: Sequence[str]) -> Convention:
    """A convention reserved for environments in which no two signs have the same meaning, so that
    always guessing one meaning helps with one sign only.
    """
    while True:
        convention = dict(
            zip(rng.sample(SIGNS, signs), rng.sample(list(meanings), signs), strict=True)
        )
        if reserved_for_envs(convention):
            return convention


def draw_pairs(rng: random.Random) -> list[tuple[Split, str, tuple[int, int]]]:
    """A telling pair for every split and meaning, none used twice."""
    while True:
        left = {pair for meaning in MEANINGS for pair in distinguishing_pairs(meaning)}
        dealt: list[tuple[Split, str, tuple[int, int]]] = []
        for split in SPLITS:
            for meaning in MEANINGS:
                # Sorted, because what is drawn must not depend on the order of a set.
                fitting = sorted(left & set(distinguishing_pairs(meaning)))
                if fitting:
                    dealt.append((split, meaning, rng.choice(fitting)))
                    left.remove(dealt[-1][2])
        # Some deals leave a meaning without a pair of its own; then all are dealt anew.
        if len(dealt) == len(SPLITS) * len(MEANINGS):
            return dealt


class Calibration(TextEnv):
    """The base of the four: a convention, questions with known answers, one digit.

    Args:
        world_seed (at least 0): Seed that the convention is drawn from; each seed is an environment
            of its own.
    """

    system_prompt = SYSTEM_PROMPT
    reply_tokens = 64
    grader_version = "digit-1"
    signs: ClassVar[int]
    meanings: ClassVar[tuple[str, ...]] = tuple(MEANINGS)
    counts: ClassVar[Mapping[Split, int]]

    def __init__(self, *, split: Split = "train", world_seed: int = 0) -> None:
        super().__init__(split=split)
        if isinstance(world_seed, bool) or not isinstance(world_seed, int) or world_seed < 0:
            raise EnvError(f"world_seed must be a whole number from 0 on, not {world_seed!r}.")
        self.world_seed = world_seed
        # A text as seed is hashed the same way on every machine, and the name keeps families apart.
        rng = random.Random(f"{self.name} {GENERATOR_VERSION} {world_seed}")
        self.convention = draw_distinct(rng, self.signs, self.meanings)
        self._tasks = self.draw(rng)

    @property
    def family(self) -> str:
        """The Track family: environments that differ in their seed only."""
        return self.name

    def family_fingerprint(self) -> str:
        """The hash of what all environments of the family share: the generator and the judge."""
        return digest([self.name, GENERATOR_VERSION, self.grader_version])

    @property
    def truths(self) -> tuple[str, ...]:
        """The principles that tell all there is to know. For judging methods, never for them."""
        return tuple(meaning_sentence(sign, meaning) for sign, meaning in self.convention.items())

    @abstractmethod
    def draw(self, rng: random.Random) -> dict[Split, list[tuple[Asked, str]]]:
        """Every split's questions with their answers."""

    def size(self, split: Split) -> int:
        """The number of tasks, the same in every environment of the family."""
        return len(self._tasks[split])

    def problem(self, split: Split, index: int) -> Problem:
        """One question."""
        (first, steps), answer = self._tasks[split][index]
        text = question(first, list(steps))
        spelled = "-".join([str(first), *(f"{sign}-{digit}" for sign, digit in steps)])
        return Problem(f"{self.name}:{self.world_seed}:{spelled}", text, answer)

    def judge(self, reply: str, answer: str) -> Verdict:
        """Compare the stated digit."""
        stated = stated_digit(reply)
        if stated is None:
            return Verdict.wrong("Wrong: the reply does not end with Answer: and a digit.")
        return Verdict.right() if stated == answer else Verdict.wrong()

    def oracle(self) -> str:
        """The digit in the form that the system prompt asks for."""
        return f"Answer: {self.current.answer}"

    def rules(self) -> str:
        """The generator's version and the seed."""
        return f"generator {GENERATOR_VERSION}, world seed {self.world_seed}"

    @classmethod
    def sizes(cls) -> Mapping[str, int]:
        """By construction."""
        return {split: cls.counts[split] for split in SPLITS}


class Conventional(Calibration):
    """Environments whose convention answers their questions."""

    def draw(self, rng: random.Random) -> dict[Split, list[tuple[Asked, str]]]:
        """The questions, worked without a slip."""
        asked = self.questions(rng)
        return {
            split: [
                ((f, s), str(worked_solution(f, list(s), self.convention)[1]))
                for f, s in asked[split]
            ]
            for split in SPLITS
        }

    @abstractmethod
    def questions(self, rng: random.Random) -> dict[Split, list[Asked]]:
        """Every split's questions."""


class Told(Conventional):
    """Signs that nobody explains, one step a task: what is missing can be said."""

    name = "calibration/told"
    signs = 6
    # Multiples of the six signs, each of which gets as many tasks as any other.
    counts: ClassVar[Mapping[Split, int]] = {"train": 78, "validation": 18, "test": 60}

    def questions(self, rng: random.Random) -> dict[Split, list[Asked]]:
        """The same number of single steps for every sign."""
        return single_step_questions(
            rng, self.convention, {s: n // self.signs for s, n in self.counts.items()}
        )


class Shown(Conventional):
    """Chains of three steps with every sign explained: what is missing is practice."""

    name = "calibration/shown"
    signs = 4
    meanings = CARRIED
    counts: ClassVar[Mapping[Split, int]] = {"train": 200, "validation": 40, "test": 100}

    def __init__(self, *, split: Split = "train", world_seed: int = 0) -> None:
        super().__init__(split=split, world_seed=world_seed)
        self.system_prompt = " ".join([SYSTEM_PROMPT, *self.truths])

    def questions(self, rng: random.Random) -> dict[Split, list[Asked]]:
        """Chains of three steps, none twice."""
        taken: set[Asked] = set()
        return {
            s: chain_questions(rng, self.convention, 3, n, taken) for s, n in self.counts.items()
        }

    def rules(self) -> str:
        """The system prompt too: it is part of the task here."""
        return f"{super().rules()}, {self.system_prompt}"


class Both(Conventional):
    """Signs that nobody explains, trained on short chains and tested on longer ones."""

    name = "calibration/both"
    signs = 4
    meanings = CARRIED
    # Half of 104 and of 40, the single steps, are multiples of the four signs.
    counts: ClassVar[Mapping[Split, int]] = {"train": 104, "validation": 40, "test": 100}

    def questions(self, rng: random.Random) -> dict[Split, list[Asked]]:
        """Training and validation: half single steps, half chains of two; test: chains of three."""
        half: dict[Split, int] = {s: n // 2 for s, n in self.counts.items() if s != "test"}
        made = single_step_questions(
            rng, self.convention, {s: n // self.signs for s, n in half.items()}
        )
        taken: set[Asked] = set()
        for split, count in half.items():
            made[split] += chain_questions(rng, self.convention, 2, count, taken)
            rng.shuffle(made[split])
        made["test"] = chain_questions(rng, self.convention, 3, self.counts["test"], taken)
        return made


class Neither(Calibration):
    """Every task has a convention of its own, so nothing that is learnt helps."""

    name = "calibration/neither"
    signs = 8
    # Eight signs, each with every one of the eight meanings.
    counts: ClassVar[Mapping[Split, int]] = {"train": 64, "validation": 64, "test": 64}

    def draw(self, rng: random.Random) -> dict[Split, list[tuple[Asked, str]]]:
        """In every split every sign has every meaning once."""
        made: dict[Split, list[tuple[Asked, str]]] = {split: [] for split in SPLITS}
        for sign in self.convention:
            for split, meaning, (a, b) in draw_pairs(rng):
                made[split].append(((a, ((sign, b),)), str(MEANINGS[meaning](a, b))))
        for tasks in made.values():
            rng.shuffle(tasks)
        return made
