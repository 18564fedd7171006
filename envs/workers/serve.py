"""The program of a worker process: serves one script's answers, and can be killed at any moment.

Run by its path (`python -P serve.py SCRIPT BYTES`), possibly by an interpreter that does not have
this package: the standard library only. One JSON line in, one JSON line out, which carries the
number of its job; the first line out says whether the script could be made ready.

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
AnswerFunction = Callable[[dict[str, Any]], dict[str, Any]]


def die_with_parent() -> None:
    """Leave no orphan behind, however the parent ends; ignore the terminal's Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        import resource

        # A process inherits what its parent ignored or blocked, and then no alarm would end a hang.
        alarms = {signal.SIGALRM, signal.SIGPROF}
        for alarm in alarms:
            signal.signal(alarm, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, alarms)
        # A crash in C code would otherwise leave a core file as large as the worker.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        import ctypes

        # The number is that of linux/prctl.h; Python's library has no name for it.
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def limit_memory(memory_bytes: int) -> None:
    """Limit the address space; on Linux only, where the limit is enforced."""
    if sys.platform == "linux":
        import resource

        # The kernel refuses a limit above the hard one, and only a privileged process may raise
        # that.
        _, ceiling = resource.getrlimit(resource.RLIMIT_AS)
        limit = memory_bytes if ceiling == resource.RLIM_INFINITY else min(memory_bytes, ceiling)
        resource.setrlimit(resource.RLIMIT_AS, (limit, ceiling))


def set_alarms(seconds: float, cpu_seconds: float) -> None:
    """Let the kernel kill this process after that wall or processor time; 0 sets no limit.

    The default action of a signal needs no Python code to run, so a hang in C code ends too.
    """
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, seconds)
        # This timer counts user and system time of all threads, and sends SIGPROF.
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)


def answer_job(answer: AnswerFunction, job: dict[str, Any]) -> dict[str, Any]:
    """The answer to one job, or `failed` with the error."""
    set_alarms(float(job.pop("seconds")) + _GRACE, float(job.pop("cpu_seconds", 0.0)))
    try:
        return answer(job)
    except Exception as error:  # any crash is reported to the parent as what it is
        return {"failed": f"{type(error).__name__}: {error}"[:500]}
    finally:
        set_alarms(0, 0)


def main(script: str, memory_bytes: str) -> int:
    """Serve until the input ends."""
    die_with_parent()
    limit_memory(int(memory_bytes))
    logging.disable(logging.CRITICAL)
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # whatever a library prints must not look like an answer

    def write(line: dict[str, Any]) -> None:
        answers.write(json.dumps(line) + "\n")
        answers.flush()

    try:
        answer: AnswerFunction = runpy.run_path(script)["make"]()
    except ImportError as error:
        write({"failed": f"a library cannot be imported ({error})"})
        return 1
    write({"ready": True})
    for line in sys.stdin.buffer:
        job = json.loads(line)
        number = job.pop("job")
        write({**answer_job(answer, job), "job": number})
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
