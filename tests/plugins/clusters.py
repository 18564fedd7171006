"""Ray clusters of several nodes on this machine, all on loopback, ended with the test."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_STORE = 80 * 2**20
LOOPBACK = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else 127.0.0.1 is taken for the host's own address
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "OMP_NUM_THREADS": "1",
}


def need_ray() -> None:
    """Say so where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("not run: ray is not installed")


@contextmanager
def cluster(cpus: int = 1) -> Iterator[Any]:
    """A cluster of one node; `add_node` adds more, `remove_node` kills one."""
    need_ray()
    before = dict(os.environ)
    os.environ.update(LOOPBACK)
    made = None
    try:
        from ray.cluster_utils import Cluster

        node = {"num_cpus": cpus, "object_store_memory": _STORE, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args=node | {"node_ip_address": "127.0.0.1"})
        yield made
    finally:
        if made is not None:
            made.shutdown()
        os.environ.clear()
        os.environ.update(before)


def add(made: Any, cpus: int = 1, **options: Any) -> Any:
    """One node more."""
    return made.add_node(
        num_cpus=cpus, object_store_memory=_STORE, node_ip_address="127.0.0.1", **options
    )
