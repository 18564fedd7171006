"""Compare two prompts of your own in an environment of your own."""

from typing import ClassVar

import gymnasium

import harness
from envs import Problem, Split, TextEnv, Verdict


class Reverse(TextEnv):
    """Spell a word backwards."""

    name = "reverse"
    system_prompt = "Reply with the word spelt backwards, and nothing else."
    words: ClassVar = {
        "train": ("planet", "garden", "silver", "window"),
        "validation": ("orange", "pencil"),
        "test": ("market", "bridge", "castle", "forest"),
    }

    def size(self, split: Split) -> int:
        """How many tasks a split has."""
        return len(self.words[split])

    def problem(self, split: Split, index: int) -> Problem:
        """One task with its answer."""
        word = self.words[split][index]
        return Problem(id=f"{split}-{word}", text=f"The word is {word}.", answer=word[::-1])

    def judge(self, reply: str, answer: str) -> Verdict:
        """Grade a completion."""
        right = reply.strip().lower() == answer
        return Verdict.right() if right else Verdict.wrong("That is not the word backwards.")


if __name__ == "__main__":
    gymnasium.register("Mine/Reverse-v0", entry_point="own_environment:Reverse")
    summary = harness.run(
        env="own_environment:Mine/Reverse-v0",
        methods=["base"],
        # A model that always gives one answer; `model="smollm2"` is a language model.
        model="scripted:constant=tekram",
        run_dir="reverse",
    )
    print(summary.text)
