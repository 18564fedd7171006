"""Judges mathematics for `envs.grading.pool`, in a process of `envs.workers` that can be killed.

A job is `{"box", "answer"}`, an answer `{"right", "read"}`, or `failed` instead of both. It imports
nothing of this package.

What a reply contains is parsed as LaTeX only: math-verify's plain-expression extractor, which
hands text to Python's `eval` through sympy's `parse_expr`, is not used.
"""

import re
from collections.abc import Callable
from typing import Any

_THIN_SPACE = re.compile(r"(?<=\d)\\,(?=\d{3}(?!\d))")
_FACTORIAL_POWER = re.compile(r"(\d+!)\s*\^")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*\\?%")
_RELATION = re.compile(r"\\approx(?![a-z])|\\equiv(?![a-z])|≈|≡|(?<![<>!:\\])=")
CLOSE = 0.01  # relative; what ≈ may join
Judge = Callable[[str, str], dict[str, bool]]


def respelled(text: str) -> str:
    r"""Two spellings of contest answers that math-verify misreads: 28\,357 and 100!^{2}."""
    return _FACTORIAL_POWER.sub(r"(\1)^", _THIN_SPACE.sub("", text))


def both_signs(text: str) -> str:
    r"""`\frac{1\pm a}{2}` as the list of its two values; other texts as they are."""
    if text.count("\\pm") != 1:
        return text
    return ", ".join(text.replace("\\pm", sign) for sign in "+-")


def hundredths(text: str) -> str:
    """2 % as 2/100: math-verify takes it for 2 and for 0.02 alike."""
    return _PERCENT.sub(r"\\frac{\1}{100}", text)


def sides(text: str) -> list[str]:
    """What stands around = and ≈ outside all brackets; [text] where neither occurs."""
    found, start, level = [], 0, 0
    marks = {match.start(): match.end() for match in _RELATION.finditer(text)}
    for place, sign in enumerate(text):
        level += (sign in "([{") - (sign in ")]}")
        if place in marks and level == 0:
            found.append(text[start:place])
            start = marks[place]
    return [part.strip() for part in (*found, text[start:]) if part.strip()]


def contradicts(box: str, number: Callable[[str], Any], equal: Callable[[Any, Any], bool]) -> bool:
    """Whether it puts two different numbers side by side as equal: 1 = 2, or 2 ≈ 3."""
    values = [value for value in map(number, sides(box)) if value is not None]
    return any(
        not equal(values[-1], value)
        and ("=" in box or abs(complex(value - values[-1])) > CLOSE * abs(complex(value)))
        for value in values[:-1]
    )


def make_judge() -> Judge:
    """Import math-verify and return the function that compares a boxed answer with the reference.

    math-verify's own timeouts are off: they need SIGALRM in the main thread, and would turn a
    hang into "wrong". The parent's deadline is the only one.
    """
    from math_verify import LatexExtractionConfig, parse, verify

    latex = [LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)]

    def parsed(text: str) -> list[Any]:
        boxed = f"\\boxed{{{text}}}"
        found: list[Any] = parse(boxed, latex, parsing_timeout=None, raise_on_error=True)
        return found

    def readable(parts: list[Any]) -> bool:
        return any(not isinstance(part, str) for part in parts)

    def number(text: str) -> Any:
        """The text's value where it is one number; None otherwise."""
        try:
            first = parsed(respelled(text))[0]
            return first if getattr(first, "is_number", False) else None
        except (MemoryError, RecursionError):
            raise
        except Exception:  # no number is in what cannot be read
            return None

    def equal(one: Any, other: Any) -> bool:
        return bool(verify([one], [other], timeout_seconds=None, raise_on_error=True))

    def judge(box: str, answer: str) -> dict[str, bool]:
        box, answer = hundredths(box), hundredths(answer)
        if "%" in box and "%" not in answer:
            return {"right": False, "read": False}
        gold = parsed(respelled(answer))
        try:
            stated = parsed(respelled(box))
            if not readable(stated):
                stated = parsed(both_signs(respelled(box)))
        except (MemoryError, RecursionError):
            raise
        except Exception:  # what the reply says cannot be read: a fact about the reply
            return {"right": False, "read": False}
        right = bool(verify(gold, stated, timeout_seconds=None, raise_on_error=True))
        if right and contradicts(box, number, equal):
            return {"right": False, "read": True, "contradicts": True}
        return {"right": right, "read": readable(stated) or right}

    return judge


def make() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The function that `envs.workers.serve` serves: from a box and an answer to a verdict."""
    judge = make_judge()

    def answer_job(job: dict[str, Any]) -> dict[str, Any]:
        try:
            return dict(judge(job["box"], job["answer"]))
        except Exception as error:  # the error's text may quote the answer: see Verdict
            return {"failed": f"math-verify raised {type(error).__name__}"}

    return answer_job
