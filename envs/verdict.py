"""The verdict of a grader on a reply."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["scored", "unscored"]
HUNG = "Wrong: grading it did not end, tried twice."
"""The feedback on such a reply where the verdict alone may be told, as on the test split."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Right, wrong, or no verdict at all.

    Read `outcome` before `reward`: "unscored" means that the grader failed, not the reply.
    `feedback` is a text for the reflection model, or why there is no verdict; it never holds the
    reference answer (the environment adds it where training may see it).
    """

    outcome: Outcome
    reward: float
    success: bool
    feedback: str
    hung: bool = False
    """True for a reply that is wrong because grading it did not end, tried twice."""

    @classmethod
    def right(cls, feedback: str = "Right.") -> "Verdict":
        """Full reward."""
        return cls("scored", 1.0, True, feedback)

    @classmethod
    def wrong(cls, feedback: str = "Wrong.") -> "Verdict":
        """No reward."""
        return cls("scored", 0.0, False, feedback)

    @classmethod
    def endless(cls, feedback: str) -> "Verdict":
        """No reward: the reply itself kept the grader from an end, in two tries."""
        return cls("scored", 0.0, False, feedback, hung=True)

    @classmethod
    def unscored(cls, reason: str) -> "Verdict":
        """The grader failed; the reply has earned neither 0 nor 1."""
        return cls("unscored", 0.0, False, f"Not scored: {reason}")
