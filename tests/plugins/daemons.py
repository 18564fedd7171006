"""A Docker daemon for tests: the one that runs, or, where that was asked for, a private one.

A private daemon is started only for root and only where HARNESS_TEST_DOCKERD is 1. All workers of a
test run share it; the last one to finish stops it by its process id, and a watcher stops it should
the test run itself be killed.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from envs.containers import ContainerLimits, DockerUnavailable, FileTree, Sandbox
from envs.containers.daemon import connect
from envs.containers.image import busybox, shell_image
from envs.containers.owner import start_time
from envs.errors import EnvError

NOT_ASKED = "not run: no Docker daemon answers and HARNESS_TEST_DOCKERD is not 1"
NOT_ROOT = "not run: no Docker daemon answers and only root may start a private one"
NOT_INSTALLED = "not run: no Docker daemon answers and dockerd is not installed"
NOT_STARTING = "not run: a private dockerd does not start on this machine"
NO_BUSYBOX = "not run: this system has no static busybox"

_START = """
setsid dockerd --config-file "$1/none.json" --data-root "$1/data" --exec-root "$1/exec" \
  --pidfile "$1/dockerd.pid" --host "unix://$1/socket" --storage-driver vfs --iptables=false \
  --ip6tables=false --bridge=none > "$1/log" 2>&1 < /dev/null &
daemon=$!
echo $daemon
# In a session of its own, or what kills the test run's process group kills the watcher too.
setsid sh -c 'while kill -0 "$0" && kill -0 "$1"; do sleep 2; done
  kill "$1" || exit 0
  while kill -0 "$1"; do sleep 1; done
  umount "$2/data"; rm -rf --one-file-system "$2" "$2.lock"' "$2" $daemon "$1" > /dev/null 2>&1 &
"""


def _run_folder() -> Path:
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    return Path(tempfile.gettempdir()) / f"harness-dockerd-{run[:12]}"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder.parent / f"{folder.name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _count(folder: Path, change: int) -> int:
    counter = folder / "users"
    users = int(counter.read_text()) if counter.exists() else 0
    counter.write_text(str(users + change))
    return users + change


def _start(folder: Path) -> None:
    (folder / "none.json").write_text("{}")
    watched = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    command = ["sh", "-c", _START, "start", str(folder), str(watched)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    (folder / "daemon").write_text(told.stdout.strip())


def _answers(folder: Path) -> bool:
    """Whether it comes up and can run a container at all, within half a minute."""
    daemon = int((folder / "daemon").read_text())
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and start_time(daemon):
        if (folder / "socket").exists():
            try:
                with Sandbox(shell_image(connect()), ContainerLimits(), FileTree()) as room:
                    return room.run("true", 20).status == 0
            except DockerUnavailable:
                pass
            except EnvError:
                return False
        time.sleep(0.2)
    return False


def _stop(folder: Path) -> None:
    daemon = int((folder / "daemon").read_text())
    deadline = time.monotonic() + 30
    for sent in (signal.SIGTERM, signal.SIGKILL):
        if start_time(daemon):
            os.kill(daemon, sent)
        while start_time(daemon) and time.monotonic() < deadline:
            time.sleep(0.05)
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", mount], check=True)
    shutil.rmtree(folder)


def _why_not() -> str:
    if os.environ.get("HARNESS_TEST_DOCKERD") != "1":
        return NOT_ASKED
    if os.geteuid() != 0:
        return NOT_ROOT
    return "" if shutil.which("dockerd") else NOT_INSTALLED


@contextmanager
def daemon() -> Iterator[str]:
    """DOCKER_HOST of the daemon that serves tests; where there is none, they say why."""
    try:
        busybox()
    except EnvError:
        pytest.skip(NO_BUSYBOX)
    try:
        connect()
    except DockerUnavailable:
        if _why_not():
            pytest.skip(_why_not())
    else:
        yield os.environ.get("DOCKER_HOST", "")
        return
    yield from _private()


def _private() -> Iterator[str]:
    folder = _run_folder()
    with _alone(folder), pytest.MonkeyPatch.context() as patch:
        folder.mkdir(mode=0o700, exist_ok=True)
        patch.setenv("DOCKER_HOST", f"unix://{folder}/socket")
        if _count(folder, 1) == 1:
            _start(folder)
        starts = _answers(folder)
    try:
        if not starts:
            pytest.skip(NOT_STARTING)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_HOST", f"unix://{folder}/socket")
            yield f"unix://{folder}/socket"
    finally:
        with _alone(folder):
            if _count(folder, -1) == 0:
                _stop(folder)
        if not folder.exists():
            (folder.parent / f"{folder.name}.lock").unlink(missing_ok=True)
