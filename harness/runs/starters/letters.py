"""An environment of your own: count a letter in a word.

Change `Letters` to your own tasks. A task must follow from the split and the index alone, and no
task of one split may occur in another.
"""

import random
import re

import gymnasium

from envs import Problem, Split, TextEnv, Verdict

SIZES: dict[Split, int] = {"train": 200, "validation": 40, "test": 100}


class Letters(TextEnv):
    """Count a letter in a made-up word."""

    name = "letters"
    system_prompt = "Count the letter. End with a line that says Answer: and the number."
    reply_tokens = 64

    def __init__(self, *, split: Split = "train", longest: int = 8) -> None:
        super().__init__(split=split)
        self.longest = longest  # an option: --set env.longest=12
        self._words = self._draw_words()

    def _draw_words(self) -> list[tuple[str, str]]:
        """Different words with a letter each, enough for all three splits."""
        rng = random.Random(f"letters {self.longest}")  # never the global generator
        drawn: dict[str, str] = {}
        while len(drawn) < sum(SIZES.values()):
            word = "".join(rng.choices("abcd", k=rng.randint(5, max(6, self.longest))))
            drawn.setdefault(word, rng.choice("abcd"))
        return list(drawn.items())

    def size(self, split: Split) -> int:
        """The number of tasks of the split."""
        return SIZES[split]

    def problem(self, split: Split, index: int) -> Problem:
        """Task number `index` of the split: the splits are three stretches of one list."""
        before = {"train": 0, "validation": SIZES["train"], "test": SIZES["train"] + 40}[split]
        word, letter = self._words[before + index]
        text = f"How often does the letter {letter} occur in {word}?"
        return Problem(id=f"letters:{word}", text=text, answer=str(word.count(letter)))

    def judge(self, reply: str, answer: str) -> Verdict:
        """Compare the number after the last "Answer:"; the feedback is for the reflection model."""
        stated = re.findall(r"answer:\s*([0-9]+)", reply[-2000:], re.IGNORECASE)
        if not stated:
            return Verdict.wrong("Wrong: the reply does not say Answer: and a number.")
        return Verdict.right() if stated[-1] == answer else Verdict.wrong()

    def oracle(self) -> str:
        """A reply that earns the full reward for the current task."""
        return f"Answer: {self.current.answer}"

    def rules(self) -> str:
        """All else that decides tasks or scores: results with other rules are not compared."""
        return f"longest {self.longest}"


gymnasium.register("Mine/Letters-v0", entry_point=f"{__name__}:Letters")
