r"""Known answers for the grader, put through it before anyone relies on it.

Run by `harness doctor` and at the start of every run, in the run's own process and thread. The hang
is real: a worker is given a job that never ends, on the path every answer takes, and only the
kernel, which counts its CPU time, ends it; the rule is that such a reply is wrong, not unscored.
"""

from dataclasses import dataclass
from typing import Literal

from envs.grading.pool import Grader, shared_grader
from envs.verdict import Verdict

Expected = Literal["right", "wrong", "unscored"]
HANG_SECONDS = 0.3  # of CPU; it is tried twice

# reply, reference answer, expected
_CASES: tuple[tuple[str, str, Expected], ...] = (
    ("So the total is \\boxed{42}.", "42", "right"),
    ("\\boxed{41} no, wait: \\boxed{42}", "42", "right"),
    ("Hence $x=\\boxed{\\dfrac{1}{2}}$.", "0.5", "right"),
    ("\\boxed{\\frac{1+\\sqrt{7}}{2}}", "\\frac{\\sqrt{7} + 1}{2}", "right"),
    ("\\boxed{-i\\sqrt{6}, 0, i\\sqrt{6}}", "0,i\\sqrt{6},-i\\sqrt{6}", "right"),
    ("\\boxed{42} no, wait: \\boxed{41}", "42", "wrong"),
    ("\\boxed{1,2,3}", "2", "wrong"),
    ("The answer is 42.", "42", "wrong"),
    ("\\boxed{}", "42", "wrong"),
    ("\\boxed{42", "42", "wrong"),
    ("\\boxed{\\frac{1}{}", "42", "wrong"),
    ("\\boxed{٤٢}", "42", "wrong"),
    ("", "42", "wrong"),
    ("\\boxed{6=42}", "42", "wrong"),
    ("\\boxed{0.42\\%}", "0.42", "wrong"),
    ("\\boxed{42 + 10^{-20}}", "42", "wrong"),
    ("\\boxed{41, \\boxed{42}}", "42", "wrong"),
    ("\\boxed{\\sum_{k=3}^{9} k}", "42", "wrong"),
    ("\\boxed{9^{9^{9}}}", "42", "wrong"),
)


@dataclass(frozen=True, slots=True)
class Failure:
    """A known answer that was misjudged."""

    reply: str
    answer: str
    expected: Expected
    verdict: Verdict

    def __str__(self) -> str:
        return (
            f"reply {self.reply!r} to reference answer {self.answer!r} should be {self.expected}, "
            f"but is {_kind(self.verdict)} ({self.verdict.feedback})"
        )


def _kind(verdict: Verdict) -> Expected:
    if verdict.outcome == "unscored":
        return "unscored"
    return "right" if verdict.success and verdict.reward == 1.0 else "wrong"


def selftest(grader: Grader | None = None) -> list[Failure]:
    """The known answers misjudged by `grader` (None: the process's shared one); [] if it can be
    trusted. Takes one to two seconds, most of it the hang.
    """
    grader = grader or shared_grader()
    failures = []
    for reply, answer, expected in _CASES:
        verdict = grader.grade(reply, answer)
        if _kind(verdict) != expected:
            failures.append(Failure(reply, answer, expected, verdict))
    verdict = grader.endless(HANG_SECONDS)
    if _kind(verdict) != "wrong" or "of CPU, twice" not in verdict.feedback:
        failures.append(Failure("(a job that never ends)", "", "wrong", verdict))
    return failures
