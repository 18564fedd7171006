r"""Judging mathematics in processes that can be killed.

The rule: only the content of the last `\boxed{…}` of a reply counts. It is right where it says the
same as the reference answer: the same text, an equal number or formula, the same set, list, tuple
or interval, the same word (`envs.grading.mathematics`; docs/verdicts.md has the contested kinds).
Nothing boxed, an empty box, one that is no mathematics, or one that `envs.grading.boxed_answer`
objects to (too long, too deep, the last step left to the grader, numbers that fill a machine)
scores 0.

What a reply itself does to the grader is the reply's own fault: a box that twice, in two fresh
workers, takes more than the deadline or brings the reader down is wrong. It is "unscored", with
the reason, where a worker cannot be started or is killed by others, where the machine gives it no
time, or where the reference answer alone has the same effect.

The deadline is time of the worker's own CPU. Verdicts are the same from any thread or process.
"""

import atexit
import os
import signal
import threading
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

from envs.grading.boxed_answer import both_whole, last_boxed, objection
from envs.grading.thoughts import answer_part
from envs.grading.worker import BROKEN
from envs.verdict import Verdict
from envs.workers.json_worker import MEBIBYTE, SPENT, WorkerFailed, WorkerLabels
from envs.workers.pool import WorkerPool

RULE_VERSION = "boxed-3"
WALL_SECONDS = 300.0
"""The least wall-clock limit of a verdict, in seconds: for a machine without spare time."""
_WALL_FACTOR = 30  # by which the wall's guard exceeds a deadline
_UNEQUAL = "Wrong: what is boxed does not equal the reference answer."
_WORKER = Path(__file__).with_name("worker.py")
_MEGABYTES = 2048  # 10^{10^{10}} would take all there is
_MAX_ANSWER_BYTES = MEBIBYTE  # a verdict takes fewer than a hundred
_LABELS = WorkerLabels("the grading worker", "the grading worker", "grading", "verdict")
# Ways in which a process ends by its own work; by other signals it is killed from outside.
_CRASHES = {-int(getattr(signal, name, 0)) for name in ("SIGSEGV", "SIGBUS", "SIGABRT")}


def grader_version() -> str:
    """The version that two comparable verdicts share: the rule and its library of numbers."""
    try:
        return f"{RULE_VERSION}/mpmath-{version('mpmath')}"
    except PackageNotFoundError:
        return f"{RULE_VERSION}/mpmath-missing"


def _is_verdict(answer: Mapping[str, Any]) -> bool:
    return isinstance(answer.get("right"), bool) and isinstance(answer.get("read"), bool)


class _BroughtDown(Exception):
    """A job used up its time or brought the reader down; the message says which."""


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

        `deadline`, in seconds of a worker's CPU, replaces the pool's for this answer.
        """
        box = last_boxed(answer_part(reply))
        if box is None:
            return Verdict.wrong("Wrong: the final answer must stand in \\boxed{…}.")
        return self.compare(box, answer, deadline)

    def compare(self, box: str, answer: str, deadline: float | None = None) -> Verdict:
        """Judge what is boxed, by itself, against the reference answer."""
        if self._closed:
            raise RuntimeError("this Grader is closed; make a new one")
        expected = " ".join(answer.split())
        if box and box == expected:
            return Verdict.right()
        if both_whole(box, expected):
            return Verdict.wrong(_UNEQUAL)
        if refused := objection(box, answer):
            return Verdict.wrong(f"Wrong: {refused}")
        return self._judged(box, answer, deadline or self.deadline)

    def endless(self, deadline: float) -> Verdict:
        """The verdict on a job that never ends: tests the deadline on the path of real answers."""
        return self._judged("", "0", deadline, spin=True)

    def _judged(self, box: str, answer: str, deadline: float, spin: bool = False) -> Verdict:
        """The verdict on one job, tried twice where it brings a worker down."""
        try:
            try:
                said = self._ask(box, answer, deadline, spin=spin)
            except _BroughtDown as trouble:
                try:
                    self._ask("", answer, deadline, alone=True)
                except _BroughtDown:
                    return Verdict.unscored(f"{trouble}, as the reference answer alone does")
                said = self._ask(box, answer, deadline, spin=spin)
        except WorkerFailed as failure:
            return Verdict.unscored(str(failure))
        except _BroughtDown as trouble:
            return Verdict.endless(f"Wrong: what is boxed cannot be judged: {trouble}, twice.")
        return _verdict(said)

    def _ask(self, box: str, answer: str, seconds: float, **more: bool) -> dict[str, Any]:
        """A worker's answer; raises WorkerFailed, and _BroughtDown where the job is to blame."""
        wall = max(WALL_SECONDS, _WALL_FACTOR * seconds)
        try:
            return self._pool.ask({"box": box, "answer": answer, **more}, wall, seconds)
        except WorkerFailed as failure:
            code = failure.exit_code
            if code is not None and code == SPENT:
                raise _BroughtDown(f"it took over {seconds:g} s of CPU") from failure
            if code == BROKEN or (code is not None and code < 0 and code in _CRASHES):
                last = str(failure).rpartition(": ")[2] if code == BROKEN else "the reader crashed"
                raise _BroughtDown(last) from failure
            raise

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


def _verdict(said: Mapping[str, Any]) -> Verdict:
    if said["right"]:
        return Verdict.right()
    if not said["read"]:
        return Verdict.wrong("Wrong: what is boxed cannot be read as mathematics.")
    if said.get("contradicts"):
        return Verdict.wrong("Wrong: the two sides of what is boxed are not equal.")
    return Verdict.wrong(_UNEQUAL)


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
