"""The graders of short answers by name, and the renderings that each has to see through.

How a reply states an answer is read in `envs.grading.stated_answer`; mathematics is judged in
`envs.grading.pool`. A task may have several accepted answers, one a line: any of them is right.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from envs.fingerprint import canonical_text
from envs.grading.choice_answer import judge_choice, reference_letter
from envs.grading.contained_answer import judge_contained, words_of
from envs.grading.number_answer import judge_number, plain_number, readable
from envs.grading.pool import grader_version, shared_grader
from envs.grading.stated_answer import stated, wrappings
from envs.verdict import Verdict

Renderings = Callable[[str], tuple[str, ...]]
_SHORT = re.compile(r"[^\\${}^_]{1,80}")


@dataclass(frozen=True, slots=True)
class AnswerGrader:
    """One way to judge: `reads` says whether a reference answer is of its kind.

    `renderings` are replies that say a reference answer in other ways, all of them right.
    """

    about: str
    version: Callable[[], str]
    system_prompt: str
    reads: Callable[[str], bool]
    judge_one: Callable[[str, str], Verdict]
    renderings: Renderings
    oracle_one: Callable[[str], str] = "Answer: {}".format

    def judge(self, reply: str, answer: str) -> Verdict:
        """The best verdict over the accepted answers, one a line of `answer`.

        Raises nothing for any reply; where no answer is right and one could not be judged, the
        reply is unscored. One that kept the grader from an end is told apart from others.
        """
        last = Verdict.wrong()
        unscored: Verdict | None = None
        hung: Verdict | None = None
        for accepted in accepted_answers(answer):
            last = self.judge_one(reply, accepted)
            if last.success:
                return last
            if last.outcome == "unscored":
                unscored = last
            hung = last if last.hung else hung
        return unscored or hung or last

    def ways(self, answer: str) -> tuple[str, ...]:
        """Replies that say each of the accepted answers in other ways, all of them right."""
        return tuple(way for one in accepted_answers(answer) for way in self.renderings(one))

    def oracle(self, answer: str) -> str:
        """A reply that gives the first accepted answer as the briefing asks."""
        return self.oracle_one(accepted_answers(answer)[0])


def accepted_answers(answer: str) -> list[str]:
    """The accepted answers of a task, of which each stands on a line."""
    return [line.strip() for line in answer.splitlines() if line.strip()] or [""]


def _exact(reply: str, answer: str) -> Verdict:
    said = stated(reply)
    if not said:
        return Verdict.wrong("Wrong: the reply does not say Answer: and an answer.")
    right = canonical_text(answer) in map(canonical_text, wrappings(said))
    return Verdict.right() if right else Verdict.wrong()


def _math(reply: str, answer: str) -> Verdict:
    return shared_grader().grade(reply, answer)


def _something(answer: str) -> bool:
    return bool(answer.strip()) and "\n" not in answer.strip()


def _stated_ways(answer: str) -> tuple[str, ...]:
    return (
        f"Let me see.\nAnswer: {answer}",
        f"**Answer:** {answer}",
        f"**Answer**: {answer}",
        f"Final answer： {answer}",
        f"<think>Answer: something else</think>Answer: {answer}",
    )


def _exact_ways(answer: str) -> tuple[str, ...]:
    return (*_stated_ways(answer), f"Answer:\n{answer}", f"Answer:   {answer}  ")


def _choice_ways(answer: str) -> tuple[str, ...]:
    letter = reference_letter(answer)
    shown = (f"({letter})", f"{letter}.", f"${letter}$", f"\\boxed{{{letter}}}", f"`{letter}`",
             f"**{letter}**", f"Option {letter}", f"The correct answer is {letter}")  # fmt: skip
    return (*_stated_ways(letter), *(f"Answer: {way}" for way in shown))


def _contained_ways(answer: str) -> tuple[str, ...]:
    return (*_stated_ways(answer), f"Answer: It is {answer}", f"Answer: **{answer}**")


def _number_ways(answer: str) -> tuple[str, ...]:
    ways = (*_stated_ways(answer), f"Answer: ${answer}$", f"Answer: \\boxed{{{answer}}}")
    plain = plain_number(answer)
    if plain is None or plain[1]:
        return ways
    return (*ways, f"Answer: {answer}.", f"Answer: It is {answer}", f"Answer: {answer} pieces")


def _math_ways(answer: str) -> tuple[str, ...]:
    ways = (f"\\boxed{{{answer}}}", f"$\\boxed{{ {answer} }}$", f"\\[\\boxed{{{answer}.}}\\]",
            f"\\boxed{{\\boldsymbol{{{answer}}}}}", f"\\boxed{{{{{answer}}}}}",
            f"\\boxed{{{answer}}}, as \\boxed{{}} was asked for",
            f"<think>\\boxed{{nothing}}</think>\\boxed{{{answer}}}")  # fmt: skip
    if _SHORT.fullmatch(answer):
        return (*ways, f"\\boxed{{\\text{{The answer is }}{answer}}}")
    return ways


_LINE = "Think, then end with a line that says Answer: and"
GRADERS: dict[str, AnswerGrader] = {
    "choice": AnswerGrader(
        "one letter",
        lambda: "choice-3",
        f"{_LINE} the letter of the right choice.",
        lambda answer: bool(reference_letter(answer)),
        judge_choice,
        _choice_ways,
    ),
    "contains": AnswerGrader(
        "the reference's words, in order, within a short answer",
        lambda: "contains-3",
        f"{_LINE} the answer in a few words.",
        lambda answer: _something(answer) and bool(words_of(answer)),
        judge_contained,
        _contained_ways,
    ),
    "exact": AnswerGrader(
        "the same text but for white space",
        lambda: "exact-2",
        f"{_LINE} the answer, and nothing after it.",
        _something,
        _exact,
        _exact_ways,
    ),
    "math": AnswerGrader(
        "equal as mathematics, in \\boxed{}",
        grader_version,
        "Solve the problem. Reason step by step, then give the final answer, and only it, in"
        " \\boxed{}.",
        _something,
        _math,
        _math_ways,
        "\\boxed{{{}}}".format,
    ),
    "number": AnswerGrader(
        "the same number",
        lambda: "number-3",
        f"{_LINE} the number.",
        readable,
        judge_number,
        _number_ways,
    ),
}
"""Every grader by name."""
