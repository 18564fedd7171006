"""Connections to the Docker daemon: one client per thread, checked once per process.

Whatever daemon DOCKER_HOST names is used, the local one otherwise. Refused with a sentence: none
that answers, and one that cannot keep the limits containers are promised to have.
"""

import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from envs.containers.errors import DockerUnavailable, one_line
from envs.containers.reaping import reap_at_exit, reap_orphans

_SECONDS = 60
_UNIX, _SOCKET = "unix://", "/var/run/docker.sock"
_STARTS = 8
_here = threading.local()
_checked_daemons: set[tuple[int, str]] = set()
_lock = threading.Lock()
_starts: dict[int, threading.BoundedSemaphore] = {}


@contextmanager
def start_slot() -> Iterator[None]:
    """Wait for a place among the few containers that this process makes and starts at a time.

    The daemon works on all starts it was asked for together: of many, each takes nearly as long as
    all, and on a busy machine longer than a request may take. More containers may run than start.
    """
    # By process: a forked child inherits places that nobody of its own will give back.
    with _lock:
        places = _starts.setdefault(os.getpid(), threading.BoundedSemaphore(_STARTS))
    with places:
        yield


def connect() -> Any:
    """A `docker.DockerClient` for this thread; raises DockerUnavailable.

    The first one of a process removes what dead processes left behind, and sees to it that this
    process leaves nothing when it exits.
    """
    if sys.platform == "win32":  # sockets, file modes and users of POSIX are used throughout
        raise DockerUnavailable("Containers need Linux or macOS; on Windows, run harness in WSL 2.")
    # By process, because a forked child needs sockets of its own and its own clean-up at exit.
    where = (os.getpid(), os.environ.get("DOCKER_HOST", ""))
    cached = getattr(_here, "cached", None)
    if cached is None or cached.where != where:
        cached = _here.cached = _ThreadClient(_open(_named()), where)
    with _lock:
        if where not in _checked_daemons:
            refuse_unlimited(_info(cached.client))
            reap_orphans(cached.client)
            reap_at_exit(partial(_open, _named()))
            _checked_daemons.add(where)
    return cached.client


@dataclass(slots=True)
class _ThreadClient:
    """A thread's client, closed when its thread is over."""

    client: Any
    where: tuple[int, str]

    def __del__(self) -> None:
        self.client.close()


def _named() -> dict[str, str]:
    """The environment variables that name the daemon, as in Docker's own command line."""
    return {name: value for name, value in os.environ.items() if name.startswith("DOCKER_")}


def _open(named: dict[str, str]) -> Any:
    try:
        import docker
        import docker.errors
    except ModuleNotFoundError as error:
        raise DockerUnavailable(
            f"Shell tasks run in containers, but the Docker SDK cannot be imported ({error}); "
            "install it: pip install docker."
        ) from error
    host = named.get("DOCKER_HOST", "")
    try:
        _probe_socket(host)
        return docker.from_env(timeout=_SECONDS, environment=named)
    except (docker.errors.DockerException, OSError) as error:
        raise DockerUnavailable(
            f"Shell tasks run in containers, but no Docker daemon answers at "
            f"{host or _SOCKET} ({one_line(error)}). Start one (on Debian as root: apt-get install "
            "docker.io && service docker start), let this user talk to it, or name another one in "
            "DOCKER_HOST."
        ) from error


def _probe_socket(host: str) -> None:
    """Raise OSError where nobody listens; the SDK would not close the socket it tried with."""
    if host and not host.startswith(_UNIX):
        return
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(_SECONDS)
        door.connect(host.removeprefix(_UNIX) or _SOCKET)


def _info(client: Any) -> Mapping[str, Any]:
    import docker.errors
    import requests

    try:
        info: Mapping[str, Any] = client.api.info()
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise DockerUnavailable(
            f"The Docker daemon does not say what it can do ({one_line(error)}); "
            "see whether docker info works."
        ) from error
    return info


def refuse_unlimited(info: Mapping[str, Any]) -> None:
    """Raise DockerUnavailable where `docker info` shows that a promised limit would not hold."""
    security = [str(option) for option in info.get("SecurityOptions") or ()]
    # A daemon may name seccomp and still filter nothing: then the profile is "unconfined".
    seccomp = [o for o in security if o.startswith("name=seccomp") and "unconfined" not in o]
    lacking = [
        what
        for what, has in (
            ("run Linux containers", info.get("OSType") == "linux"),
            ("limit memory", info.get("MemoryLimit")),
            ("limit processes", info.get("PidsLimit")),
            ("limit CPU time", info.get("CpuCfsQuota")),
            ("filter system calls with seccomp", seccomp),
        )
        if not has
    ]
    if lacking:
        raise DockerUnavailable(
            f"The Docker daemon cannot {', '.join(lacking)}, so an agent's commands are not run "
            "on it; compare docker info, or name another daemon in DOCKER_HOST."
        )
