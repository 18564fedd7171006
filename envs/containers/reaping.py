"""Removal of leftovers: those of dead processes at the first use, this process's own at its exit.

Several processes may reap at once; what another one removed first is simply gone.
"""

import atexit
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from envs.containers.errors import SandboxError, failing_as_sandbox
from envs.containers.owner import MACHINE, OWNER, identity, orphaned
from envs.errors import EnvError

_PATIENCE_SECONDS = 20.0
_GONE, _BUSY = 404, (409, 500)
Mine = Callable[[Mapping[str, str]], bool]


def reap_orphans(client: Any) -> int:
    """Remove containers and volumes whose owner is dead; returns how many there were."""
    return _reap(client, orphaned)


def reap_own(client: Any) -> int:
    """Remove containers and volumes of this process; returns how many there were."""
    mine = identity()
    return _reap(client, lambda labels: labels.get(OWNER) == mine)


def reap_at_exit(open_client: Callable[[], Any]) -> None:
    """Remove, when this process exits, its own containers and those that dead processes left."""
    process = os.getpid()

    def at_exit() -> None:
        # A forked child inherits the registration, but not the containers.
        if os.getpid() != process:
            return
        # A daemon that is gone by now took its containers along, or the next start reaps them.
        with suppress(EnvError):
            client = open_client()
            reap_own(client)
            reap_orphans(client)
            client.close()

    atexit.register(at_exit)


def left(client: Any, which: Mine = lambda labels: True) -> list[str]:
    """Names of containers and volumes with our labels that `which` accepts."""
    containers, volumes = _found(client, which)
    return [f"container {name}" for name in containers] + [f"volume {name}" for name in volumes]


def _found(client: Any, which: Mine) -> tuple[list[str], list[str]]:
    marked = {"label": [MACHINE, OWNER]}
    containers = client.api.containers(all=True, filters=marked)
    volumes = client.api.volumes(filters=marked).get("Volumes") or ()
    return (
        [found["Id"] for found in containers if which(found.get("Labels") or {})],
        [found["Name"] for found in volumes if which(found.get("Labels") or {})],
    )


def _reap(client: Any, which: Mine) -> int:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    seen: set[str] = set()
    with failing_as_sandbox("remove what was left behind"):
        while True:
            containers, volumes = _found(client, which)
            if not containers and not volumes:
                return len(seen)
            seen.update(containers, volumes)
            for container in containers:
                remove_container(client, container)
            for volume in volumes:
                remove_volume(client, volume)
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
    raise SandboxError(
        f"Docker does not let go of {len(containers)} containers and {len(volumes)} volumes; "
        "look at them with docker ps --all and docker volume ls."
    )


def remove_container(client: Any, container: str) -> bool:
    """Kill and remove; whether it is gone now. Somebody else may be removing it: ask again."""
    return _gone(lambda: client.api.remove_container(container, force=True, v=True))


def remove_volume(client: Any, volume: str) -> bool:
    """Remove; whether it is gone now. A container being removed may still use it: ask again."""
    return _gone(lambda: client.api.remove_volume(volume, force=True))


def _gone(remove: Callable[[], None]) -> bool:
    import docker.errors

    try:
        remove()
    except docker.errors.APIError as error:
        if error.status_code not in (_GONE, *_BUSY):
            raise
        return bool(error.status_code == _GONE)
    return True
