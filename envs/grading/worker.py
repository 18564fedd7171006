"""The process that judges mathematics for `envs.grading.pool`; it can be killed at any moment.

It is run by its path and knows nothing of the rest of the house. One JSON line in
(`{"job", "box", "answer", "seconds"}`), one JSON line out (`{"job", "right", "read"}`, or `failed`
instead of the last two); the first line out says whether math-verify could be imported.

What a reply contains is parsed as LaTeX only: math-verify's plain-expression extractor, which
hands text to Python's `eval` through sympy's `parse_expr`, is not used.

It dies with its parent: its input ends, the kernel sends SIGKILL when the thread that started it
dies (Linux), and an alarm with its default action ends whatever outlives its time.
"""

import json
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from typing import Any

MEMORY = 2 * 1024**3  # bytes of address space; 10^{10^{10}} would take all there is
_GRACE = 5.0  # seconds the parent has to kill first
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


def die_with_parent() -> None:
    """Leave no orphan behind, however the parent ends; ignore the terminal's Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        import resource

        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        import ctypes

        _, ceiling = resource.getrlimit(resource.RLIMIT_AS)
        limit = MEMORY if ceiling == resource.RLIM_INFINITY else min(MEMORY, ceiling)
        resource.setrlimit(resource.RLIMIT_AS, (limit, ceiling))
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def alarm(seconds: float) -> None:
    """Let the kernel kill this process after that time; 0 calls it off."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, seconds)


def answer_to(judge: Judge, job: dict[str, Any]) -> dict[str, Any]:
    """The verdict on one job, or the name of what went wrong (never its text: see Verdict)."""
    alarm(float(job["seconds"]) + _GRACE)
    try:
        return dict(judge(job["box"], job["answer"]))
    except Exception as error:  # any crash of the grader is told to the parent as what it is
        return {"failed": f"math-verify raised {type(error).__name__}"}
    finally:
        alarm(0)


def main() -> int:
    """Serve until the input ends."""
    die_with_parent()
    logging.disable(logging.CRITICAL)
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # whatever a library prints must not look like a verdict

    def say(line: dict[str, Any]) -> None:
        replies.write(json.dumps(line) + "\n")
        replies.flush()

    try:
        judge = make_judge()
    except ImportError as error:
        say({"ready": False, "failed": f"math-verify cannot be imported ({error})"})
        return 1
    say({"ready": True})
    for line in sys.stdin.buffer:
        job = json.loads(line)
        say({**answer_to(judge, job), "job": job["job"]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
