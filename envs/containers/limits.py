"""Limits of a container, in numbers and as settings of the Docker SDK.

Every container of this package is made from `host_settings` alone, so that no caller can forget a
limit. What is not named keeps Docker's default, the seccomp profile and the masked paths above all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

AGENT = "1000:1000"
"""User and group of everything an agent says."""

KEEPER = "65532:65532"
"""User and group of process 1 and of checks: the agent's user can neither signal nor trace it."""

WORK, HIDDEN = "/work", "/check"
"""The scratch that is judged, and the folder of hidden files, which no agent's container has."""


@dataclass(frozen=True, slots=True)
class ContainerLimits:
    """Limits of one container; the scratch and /tmp count as memory too.

    Output: of every command `output_bytes` are kept, the first and the last half; one that writes
    more than `output_stop` bytes is stopped. `life_seconds`: after that the container ends by
    itself, whoever made it.
    """

    memory_mb: int = 64
    cpus: float = 1.0
    processes: int = 64
    open_files: int = 256
    scratch_mb: int = 16
    scratch_files: int = 4096
    temporary_mb: int = 4
    output_bytes: int = 4000
    output_stop: int = 1 << 20
    life_seconds: int = 6 * 3600


def scratch_options(limits: ContainerLimits) -> dict[str, str]:
    """Driver options of the volume behind the scratch: a file system in memory, with a size."""
    user, group = AGENT.split(":")
    # Empty files take nothing of a tmpfs's size, so their number is limited too.
    size = f"size={limits.scratch_mb}m,nr_inodes={limits.scratch_files}"
    rights = f"mode=0755,uid={user},gid={group},nosuid,nodev"
    return {"type": "tmpfs", "device": "tmpfs", "o": f"{size},{rights}"}


def host_settings(limits: ContainerLimits, volumes: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of `create_host_config`; `volumes` maps a path in the container to a volume."""
    from docker.types import LogConfig, Mount, Ulimit

    memory = f"{limits.memory_mb}m"
    temporary = f"size={limits.temporary_mb}m,nr_inodes=1024,mode=1777,nosuid,nodev,noexec"
    # Without no_copy an empty scratch takes over what the image has there, its owner included.
    mounts = [Mount(path, name, type="volume", no_copy=True) for path, name in volumes.items()]
    ulimits = {"nofile": limits.open_files, "core": 0, "msgqueue": 0, "memlock": 0}
    return {
        "network_mode": "none",
        # What is left to write to are the scratch and /tmp, and both have a size.
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "mem_limit": memory,
        # Docker counts memory and swap together here: the same number allows no swap.
        "memswap_limit": memory,
        "nano_cpus": int(limits.cpus * 1e9),
        "pids_limit": limits.processes,
        # No /dev/shm, which would be a third place for files, of 64 MB.
        "ipc_mode": "none",
        # The daemon would otherwise copy what process 1 prints to a file on the host's disk.
        "log_config": LogConfig(type=LogConfig.types.NONE),
        "tmpfs": {"/tmp": temporary},
        "mounts": mounts,
        "ulimits": [Ulimit(name=name, soft=n, hard=n) for name, n in sorted(ulimits.items())],
    }
