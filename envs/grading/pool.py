r"""Judging mathematics with math-verify, in processes that can be killed.

The rule: only the content of the last `\boxed{…}` of a reply counts. It is right where math-verify
finds it equal to the reference answer: numbers by value (decimals to six places), sets and lists
element by element, so a list of guesses is not equal to one number; of an equation the last
right-hand side counts, where no other side is another number; 2 % is 0.02, and 1 ± a is the list
of both values.
Nothing boxed, an empty box, one that is no mathematics, or one that `boxed_answer` objects to (too
long, too deep, the last step left to the grader, numbers that fill a machine) scores 0. A
crash, a hang past the deadline or a dead worker is "unscored", with the reason: the judge failed,
not the reply.

Verdicts are the same from any thread or process, because the judging always happens in a worker's
main thread, without math-verify's SIGALRM timeouts; but for two plain whole numbers, which are
compared here, as math-verify would. This module never imports sympy.
"""

import atexit
import os
import threading
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

from envs.grading.boxed_answer import both_whole, last_boxed, objection
from envs.verdict import Verdict
from envs.workers.json_worker import MEBIBYTE, WorkerFailed, WorkerLabels
from envs.workers.pool import WorkerPool

RULE_VERSION = "boxed-2"
_UNEQUAL = "Wrong: what is boxed does not equal the reference answer."
_WORKER = Path(__file__).with_name("worker.py")
_MEGABYTES = 2048  # 10^{10^{10}} would take all there is
_MAX_ANSWER_BYTES = MEBIBYTE  # a verdict takes fewer than a hundred
_LABELS = WorkerLabels("the grading worker", "the grading worker", "grading", "verdict")


def grader_version() -> str:
    """What must agree for two verdicts to be comparable: the rule and its libraries."""
    parts = [RULE_VERSION]
    for package in ("math-verify", "latex2sympy2_extended", "sympy"):
        try:
            parts.append(f"{package}-{version(package)}")
        except PackageNotFoundError:
            parts.append(f"{package}-missing")
    return "/".join(parts)


def _is_verdict(answer: Mapping[str, Any]) -> bool:
    judged = isinstance(answer.get("right"), bool) and isinstance(answer.get("read"), bool)
    return judged or isinstance(answer.get("failed"), str)


class Grader:
    """A pool of workers, started when first needed; `grade` may be called from any thread."""

    def __init__(self, workers: int = 2, deadline: float = 10.0) -> None:
        if workers < 1 or deadline <= 0:
            raise ValueError(f"want workers ≥ 1 and deadline > 0 s, got {workers} and {deadline}")
        self.deadline = deadline
        self._pool = WorkerPool(
            _WORKER,
            count=workers,
            megabytes=_MEGABYTES,
            max_answer_bytes=_MAX_ANSWER_BYTES,
            labels=_LABELS,
            is_answer=_is_verdict,
        )
        self._closed = False

    def grade(self, reply: str, answer: str, deadline: float | None = None) -> Verdict:
        """Judge the reply's last box against the reference answer.

        `deadline`, in seconds, replaces the pool's for this answer. It covers everything but
        waiting for a free worker and starting one.
        """
        box = last_boxed(reply)
        if box is None:
            return Verdict.wrong("Wrong: the final answer must stand in \\boxed{…}.")
        if self._closed:
            raise RuntimeError("this Grader is closed; make a new one")
        if both_whole(box, answer.strip()):
            return Verdict.right() if box == answer.strip() else Verdict.wrong(_UNEQUAL)
        if refused := objection(box, answer):
            return Verdict.wrong(f"Wrong: {refused}")
        try:
            said = self._ask(box, answer, deadline or self.deadline)
        except WorkerFailed as failure:
            return Verdict.unscored(str(failure))
        if "failed" in said:
            return Verdict.unscored(said["failed"])
        if said["right"]:
            return Verdict.right()
        if not said["read"]:
            return Verdict.wrong("Wrong: what is boxed cannot be read as mathematics.")
        if said.get("contradicts"):
            return Verdict.wrong("Wrong: the two sides of what is boxed are not equal.")
        return Verdict.wrong(_UNEQUAL)

    def _ask(self, box: str, answer: str, seconds: float) -> dict[str, Any]:
        return self._pool.ask({"box": box, "answer": answer}, seconds)

    def close(self) -> None:
        """End the workers. Waits for answers being graded; a second call does nothing."""
        self._closed = True
        self._pool.close()

    def __enter__(self) -> "Grader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


_shared: tuple[int, Grader] | None = None
_shared_lock = threading.Lock()


def shared_grader() -> Grader:
    """This process's own pool of two workers, made on first use and closed at exit.

    A forked child gets a pool of its own: two processes on one pipe would mix up verdicts.
    """
    global _shared
    with _shared_lock:
        if _shared is None or _shared[0] != os.getpid():
            grader = Grader()
            atexit.register(_close_if_mine, os.getpid(), grader)
            _shared = (os.getpid(), grader)
        return _shared[1]


def _close_if_mine(pid: int, grader: Grader) -> None:
    if pid == os.getpid():
        grader.close()
