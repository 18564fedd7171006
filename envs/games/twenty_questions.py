"""Identify the hidden thing by questions that are answered with yes or no.

The things are invented (`knowledge`). A task names a few of them, one of which is meant. By
default the task also tells what is true of each; with `told = false` it does not, and since the
knowledge stays the same in every task and split, it can be learnt and said. The reward:

- 1 for the right guess with no more turns than the best questioner needs at worst, his guess
  included;
- that number divided by the turns used, for later right guesses;
- 0 for a wrong guess, which ends the game, or no guess by the last turn.

No set of things of one split is used in another.
"""

import random
import re
from collections.abc import Mapping

from envs.errors import EnvError
from envs.fingerprint import digest
from envs.games.knowledge import best_question, draw_knowledge
from envs.games.multi_turn_env import MultiTurnEnv
from envs.text_env import SPLITS, Problem, Split
from envs.verdict import Verdict

GENERATOR_VERSION = "1"
THINGS = 24
_SIZES: Mapping[Split, int] = {"train": 200, "validation": 50, "test": 100}
_MARK = re.compile(r"(question|guess)\s*:", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+")
# With one of these words a yes or no would not be about the attribute alone.
_DENIALS = frozenset({"not", "no", "never", "isn", "or", "and"})


def said(reply: str) -> tuple[str, tuple[str, ...]]:
    """The last "Question:" or "Guess:" of a reply, and the words on its line."""
    marks = list(_MARK.finditer(reply))
    if not marks:
        return "", ()
    line = (reply[marks[-1].end() :].strip().splitlines() or [""])[0]
    return marks[-1][1].lower(), tuple(_WORD.findall(line.lower()))


class TwentyQuestions(MultiTurnEnv):
    """Ask which of a few invented things is meant, with few questions, and name it.

    Args:
        world_seed (at least 0): Seed that the things and their attributes are drawn from.
        things (4 to 12; in things): Things that a task names, one of which is meant.
        attributes (5 to 12; in attributes): Attributes that can be asked for.
        questions (1 to 20; in questions): Questions that may be asked before the last guess.
        told: State the attributes of the things in each task; false: they must be learned from
            feedback.
    """

    name = "twenty_questions"
    system_prompt = (
        "Find out which thing is meant with few questions. Reply with Question: is it ...? and one"
        " of the words, or end with Guess: and the thing."
    )
    reply_tokens = 24
    grader_version = "fewest-1"

    def __init__(
        self,
        *,
        split: Split = "train",
        world_seed: int = 0,
        things: int = 8,
        attributes: int = 6,
        questions: int = 20,
        told: bool = True,
    ) -> None:
        super().__init__(split=split)
        self.world_seed = _checked("world_seed", world_seed, 0, 2**63)
        self.things = _checked("things", things, 4, 12)
        # At least 5: they make 32 different things, and 4 would make 16, which is fewer than
        # THINGS.
        self.attributes = _checked("attributes", attributes, 5, 12)
        self.questions = _checked("questions", questions, 1, 20)
        if not isinstance(told, bool):
            raise EnvError(f"told must be true or false, not {told!r}.")
        self.told = told
        rng = random.Random(f"{self.name} {GENERATOR_VERSION} {world_seed}")
        self.knowledge = draw_knowledge(rng, THINGS, attributes)
        self._groups = self._draw_groups(rng)
        self._left: list[str] = []
        self._turns = self._best = 0

    def _draw_groups(self, rng: random.Random) -> dict[Split, list[tuple[tuple[str, ...], str]]]:
        """Every split's sets of things with the one that is meant."""
        taken: set[frozenset[str]] = set()
        groups: dict[Split, list[tuple[tuple[str, ...], str]]] = {split: [] for split in SPLITS}
        for split in SPLITS:
            while len(groups[split]) < _SIZES[split]:
                group = tuple(rng.sample(self.knowledge.things, self.things))
                # As a set, because the order in which things are named makes no other task.
                if frozenset(group) not in taken:
                    taken.add(frozenset(group))
                    groups[split].append((group, rng.choice(group)))
        return groups

    @property
    def family(self) -> str:
        """The Track family: environments that differ in their seed only."""
        return self.name

    def family_fingerprint(self) -> str:
        """The hash of what all environments of the family share, the options included."""
        return digest([self.name, GENERATOR_VERSION, self.grader_version, self._options()])

    @property
    def truths(self) -> tuple[str, ...]:
        """All that is true of the things. For judging methods, never for them."""
        return tuple(self.knowledge.says(thing) for thing in self.knowledge.things)

    def size(self, split: Split) -> int:
        """200, 50 and 100 tasks."""
        return _SIZES[split]

    def problem(self, split: Split, index: int) -> Problem:
        """A few things and which of them is meant."""
        group, meant = self._groups[split][index]
        asked = ", ".join(self.knowledge.attributes)
        text = f"One of these is meant: {', '.join(group)}. Ask whether it is {asked}."
        if self.told:
            text = "\n".join([text, *map(self.knowledge.says, group)])
        names = "-".join(sorted(group))
        return Problem(f"{self.name}:{self.world_seed}:{names}", text, meant)

    def start_episode(self, problem: Problem) -> None:
        """Nothing asked yet."""
        self._left = problem.id.rpartition(":")[2].split("-")
        self._turns = 0
        # The questions, and one turn for the guess.
        self._best = best_question(self.knowledge.facts[thing] for thing in self._left)[1] + 1

    def respond(self, reply: str) -> str | Verdict:
        """A question or the guess."""
        self._turns += 1
        kind, words = said(reply)
        if kind == "guess":
            return self._guessed(words)
        left = self.questions + 1 - self._turns
        if left <= 0:
            return Verdict.wrong(f"No guess in {self.questions + 1} turns.")
        asked = [word for word in words if word in self.knowledge.attributes]
        if kind != "question" or len(set(asked)) != 1 or _DENIALS & set(words):
            return self._counted("Ask Question: is it, and one of the words, or Guess: a thing.")
        meant = self.knowledge.is_true(self.current.answer, asked[0])
        self._left = [t for t in self._left if self.knowledge.is_true(t, asked[0]) == meant]
        return self._counted("Yes." if meant else "No.")

    def _counted(self, told: str) -> str:
        left = self.questions + 1 - self._turns
        return f"{told} Now guess." if left == 1 else f"{told} {left} turns left."

    def _guessed(self, words: tuple[str, ...]) -> Verdict:
        named = {word for word in words if word in self.knowledge.facts}
        # A guess that names other things too is wrong, or naming them all would always win.
        if named != {self.current.answer}:
            return Verdict.wrong("Wrong guess." if named else "The guess names no thing.")
        if self._turns <= self._best:
            return Verdict.right(f"Right with {self._turns} turns.")
        told = f"Right, but with {self._turns} turns where {self._best} are enough."
        return Verdict("scored", self._best / self._turns, False, told)

    def judge(self, reply: str, answer: str) -> Verdict:
        """A single guess on its own."""
        kind, words = said(reply)
        named = {word for word in words if word in self.knowledge.facts}
        right = kind == "guess" and named == {answer}
        return Verdict.right() if right else Verdict.wrong()

    def reference_reply(self) -> str:
        """Ask what splits best, guess what is left."""
        attribute, _ = best_question(self.knowledge.facts[thing] for thing in self._left)
        return f"Question: is it {attribute}?" if attribute else f"Guess: {self._left[0]}"

    def rules(self) -> str:
        """The generator's version, the seed and the options."""
        return f"generator {GENERATOR_VERSION}, world seed {self.world_seed}, {self._options()}"

    def _options(self) -> str:
        return (
            f"{self.things} things, {self.attributes} attributes, {self.questions} questions,"
            f" told {self.told}"
        )

    @classmethod
    def sizes(cls) -> Mapping[str, int]:
        """By construction."""
        return {split: _SIZES[split] for split in SPLITS}


def _checked(option: str, value: object, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise EnvError(f"{option} must be a whole number from {least} to {most}, not {value!r}.")
    return value
