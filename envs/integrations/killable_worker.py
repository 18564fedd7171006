"""The process behind `killable`: it serves one file's answers and can be killed at any moment.

Run by its path with a file and a number of bytes; it knows nothing of the rest of the house. One
JSON line in, one JSON line out, which tells the number of its job; the first line out says whether
the file could be made ready.

It dies with its parent: its input ends, the kernel sends SIGKILL when the thread that started it
dies (Linux), and an alarm with its default action ends whatever outlives its time.
"""

import json
import logging
import os
import runpy
import signal
import sys
from collections.abc import Callable
from typing import Any

_GRACE = 5.0  # seconds the parent has to kill first
Answer = Callable[[dict[str, Any]], dict[str, Any]]


def die_with_parent(memory: int) -> None:
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
        limit = memory if ceiling == resource.RLIM_INFINITY else min(memory, ceiling)
        resource.setrlimit(resource.RLIMIT_AS, (limit, ceiling))
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def alarm(seconds: float) -> None:
    """Let the kernel kill this process after that time; 0 calls it off."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, seconds)


def answered(answer: Answer, job: dict[str, Any]) -> dict[str, Any]:
    """The answer to one job, or what went wrong."""
    alarm(float(job.pop("seconds")) + _GRACE)
    try:
        return answer(job)
    except Exception as error:  # any crash is told to the parent as what it is
        return {"failed": f"{type(error).__name__}: {error}"[:500]}
    finally:
        alarm(0)


def main(script: str, memory: str) -> int:
    """Serve until the input ends."""
    die_with_parent(int(memory))
    logging.disable(logging.CRITICAL)
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # whatever a library prints must not look like an answer

    def say(line: dict[str, Any]) -> None:
        replies.write(json.dumps(line) + "\n")
        replies.flush()

    try:
        answer: Answer = runpy.run_path(script)["make"]()
    except ImportError as error:
        say({"failed": f"a library cannot be imported ({error})"})
        return 1
    say({"ready": True})
    for line in sys.stdin.buffer:
        job = json.loads(line)
        number = job.pop("job")
        say({**answered(answer, job), "job": number})
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
