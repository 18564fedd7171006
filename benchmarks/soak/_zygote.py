"""Forked runs of the command line, each killed by SIGKILL at a chosen moment.

Importing torch takes ten seconds, and a run that is to be killed lives for one: so one process
imports everything and forks. A line of JSON asks for a child, a line each tells its pid and its
status. A child is the leader of a session of its own, so that whatever it leaves can be found.

The moment is not left to the clock of whoever watches. A child counts what it does to files
(Python's audit events, and fsync) and which phases of the run it enters, and kills itself in the
middle of the chosen one; nothing in the harness knows of it.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")
ENTRY = ("entry.json", "champion", "opening.json", "identity.json", "config.toml")


def kind(path: str) -> str:
    """The part of a run directory that a path belongs to."""
    if "checkpoint" in path:
        return "checkpoint"
    if "unfinished_round" in path:
        return "round"
    return "entry" if any(name in path for name in ENTRY) else "logs"


class Moment:
    """Counts what happens, and ends the process where it was told to."""

    def __init__(self, folder: Path, aim: dict[str, Any], trace: Path | None) -> None:
        self.folder, self.aim, self.trace = str(folder), aim, trace
        self.counts: Counter[str] = Counter()
        self.phases: list[tuple[str, float]] = []

    def install(self) -> None:
        sys.addaudithook(self._audit)
        fsync = os.fsync

        def counted(fd: Any) -> None:
            self._file(os.readlink(f"/proc/self/fd/{fd}"))
            fsync(fd)

        os.fsync = counted
        from harness.callbacks import Callbacks

        phase = Callbacks.phase

        def heard(watchers: Callbacks, name: str, total: int) -> None:
            self._phase(name)
            phase(watchers, name, total)

        patched: Any = Callbacks
        patched.phase = heard

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, (str, bytes)) and isinstance(flags, int) and flags & _WRITES:
                self._file(os.fsdecode(path))
        elif event in _CHANGES:
            path, at = arguments[0], arguments[-1]
            if isinstance(path, (str, bytes, os.PathLike)):
                name = os.fsdecode(path)
                if isinstance(at, int) and at >= 0 and not name.startswith("/"):
                    name = f"{os.readlink(f'/proc/self/fd/{at}')}/{name}"
                self._file(name)

    def _file(self, path: str) -> None:
        if not os.path.abspath(path).startswith(self.folder):
            return
        part = kind(path)
        self.counts[part] += 1
        if self.aim.get("files") == part and self.counts[part] == self.aim["nth"]:
            os.kill(os.getpid(), signal.SIGKILL)

    def _phase(self, name: str) -> None:
        self.counts[name] += 1
        self.phases.append((name, time.monotonic()))
        if self.aim.get("phase") == name and self.counts[name] == self.aim["nth"]:
            threading.Thread(target=self._soon, daemon=True).start()

    def _soon(self) -> None:
        time.sleep(self.aim["delay"])
        os.kill(os.getpid(), signal.SIGKILL)

    def tell(self) -> None:
        """Write down what happened, so that others can be aimed at it."""
        if self.trace is not None:
            now = time.monotonic()
            ends = [t for _, t in self.phases[1:]] + [now]
            lasted = [[n, end - t] for (n, t), end in zip(self.phases, ends, strict=True)]
            told = {"counts": self.counts, "phases": lasted}
            self.trace.write_text(json.dumps(told))


def _child(asked: dict[str, Any]) -> int:
    os.setsid()
    os.chdir(asked["cwd"])
    output = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.close(nothing)
    trace = Path(asked["trace"]) if asked.get("trace") else None
    moment = Moment(Path(asked["folder"]), asked.get("aim") or {}, trace)
    moment.install()
    from harness.cli import main

    try:
        code = main(asked["words"])
    except BaseException:
        traceback.print_exc()
        return 99
    moment.tell()
    return code


def serve() -> int:
    """Import, say so, and fork until nobody asks any more."""
    import peft
    import torch
    import transformers

    import harness.cli.commands.resume
    import harness.policies.hf.policy
    import harness.runs.checks.grader_selftest

    # transformers loads these when they are asked for.
    classes: tuple[object, ...] = (transformers.LlamaForCausalLM, transformers.AutoTokenizer)
    assert peft and all(classes)
    assert harness.policies.hf.policy and harness.cli.commands.resume
    torch.set_num_threads(1)
    harness.runs.checks.grader_selftest._tested = True  # the unbroken run has tested the graders
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            return _child(asked)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(serve())
