"""The script of the processes that judge mathematics for `envs.grading.pool`.

A job is `{"box", "answer"}`, its answer `{"right", "read"}`, with `contradicts` where a box says
that different numbers are equal. `"alone": true` asks whether the reference answer can be compared
with itself; `"spin": true` is a job that never ends, with which the deadline itself is tested.
"""

import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

BROKEN = 77  # exit code of a worker whose reader raised: the next job gets a fresh one
_ROOT = Path(__file__).resolve().parents[2]


def make_judge() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The function from a job to a verdict; it raises whatever the reader raises.

    `envs` is put up as a bare package: what it does on import registers environments, which takes
    large libraries that nothing here needs.
    """
    if "envs" not in sys.modules:
        package = types.ModuleType("envs")
        package.__path__ = [str(_ROOT / "envs")]
        sys.modules["envs"] = package
    from envs.grading.mathematics import judge

    def answered(job: dict[str, Any]) -> dict[str, Any]:
        while job.get("spin"):
            pass
        if job.get("alone"):
            judge.compare_alone(job["answer"])
            return {"right": True, "read": True}
        return dict(judge.judge(job["box"], job["answer"]))

    return answered


def make() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The function that `envs.workers.serve` serves."""
    judge = make_judge()

    def answer_job(job: dict[str, Any]) -> dict[str, Any]:
        try:
            return judge(job)
        except Exception as error:  # only its name: its text may quote the answer (see Verdict)
            os.write(2, f"the reader of mathematics raised {type(error).__name__}\n".encode())
            os._exit(BROKEN)

    return answer_job
