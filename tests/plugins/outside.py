"""Environments of other packages, written here and run by their own interpreters."""

import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from framework_sources import SERVER, SUMS, TASK, TASKSET

NO_VERIFIERS = "not run: verifiers' interpreter is not named"
NO_TASKSETS = "not run: verifiers 0.4's interpreter is not named"
NO_INSPECT = "not run: inspect's interpreter is not named"
NO_OPENENV = "not run: openenv's interpreter is not named"


def verifiers_python() -> str:
    """The interpreter that has verifiers; leaves the test out where none is named."""
    named = os.environ.get("HARNESS_VERIFIERS_PYTHON", "")
    if not named:
        pytest.skip(NO_VERIFIERS)
    return named


def tasksets_python() -> str:
    """The interpreter that has verifiers 0.4; leaves the test out where none is named."""
    named = os.environ.get("HARNESS_TASKSETS_PYTHON", "")
    if not named:
        pytest.skip(NO_TASKSETS)
    return named


def taskset(folder: Path) -> str:
    """A taskset of verifiers 0.4 in that folder; its name."""
    (folder / "tiny_taskset.py").write_text(TASKSET, encoding="utf-8")
    return f"verifiers:{folder / 'tiny_taskset.py'}"


def inspect_python() -> str:
    """The interpreter that has inspect_ai; leaves the test out where none is named."""
    named = os.environ.get("HARNESS_INSPECT_PYTHON", "")
    if not named:
        pytest.skip(NO_INSPECT)
    return named


def inspect_task(folder: Path) -> str:
    """A file with two tasks of inspect_ai in that folder; the name of the first."""
    (folder / "tiny_tasks.py").write_text(TASK, encoding="utf-8")
    return f"inspect:{folder / 'tiny_tasks.py'}@sums"


def sums(folder: Path) -> str:
    """A verifiers environment in that folder; its name."""
    (folder / "tiny_sums.py").write_text(SUMS, encoding="utf-8")
    return f"verifiers:{folder / 'tiny_sums.py'}"


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def openenv_server(folder: Path, sessions: int = 4, server: str = SERVER) -> Iterator[str]:
    """A real server of the openenv package; its name as a world."""
    python = os.environ.get("HARNESS_OPENENV_PYTHON", "")
    if not python:
        pytest.skip(NO_OPENENV)
    (folder / "server.py").write_text(server, encoding="utf-8")
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [python, str(folder / "server.py"), str(port), str(sessions)]
    process = subprocess.Popen(command, env=environment, cwd=folder)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.3)
        assert process.poll() is None, "the server did not start"
        yield f"openenv:ws://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
