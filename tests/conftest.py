"""What tests of several rooms share: a tiny real language model, and a cache of their own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.tiny import tiny_model as make_tiny

if TYPE_CHECKING:
    from harness.policies.hf.policy import HFPolicy


def _default_dispositions() -> None:
    """Have child processes start with the default action for signals that this process ignores.

    A background shell and nohup start pytest with SIGINT or SIGHUP ignored, and a child inherits
    that; a handler, even one that does nothing, is reset to the default when a program starts.
    """
    for name in ("SIGINT", "SIGQUIT", "SIGHUP", "SIGTERM"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda number, frame: None)


if sys.platform != "win32":
    _default_dispositions()


@pytest.fixture(scope="session")
def user_cache() -> str | None:
    """XDG_CACHE_HOME as it was outside of the tests."""
    return os.environ.get("XDG_CACHE_HOME")


@pytest.fixture(scope="session", autouse=True)
def private_cache(
    tmp_path_factory: pytest.TempPathFactory, user_cache: str | None
) -> Iterator[None]:
    """Tests leave nothing in the user's cache, nor in the user's list of evaluations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def docker_host() -> Iterator[str]:
    """DOCKER_HOST of the daemon that serves tests with containers."""
    from daemons import daemon  # with docker

    with daemon() as host:
        yield host


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a randomly initialised Llama (2 layers of 32) with a byte-level tokenizer."""
    return make_tiny(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture
def tiny_policy(tiny_model: Path) -> HFPolicy:
    """A fresh policy on the tiny model, on one thread."""
    from harness.policies.hf.policy import HFPolicy
    from harness.policies.model_files import ModelSource
    from harness.settings.model import ModelSettings

    settings = ModelSettings(device="cpu", threads=1, batch_rows=4, lora_rank=4, lora_alpha=8)
    return HFPolicy(f"hf:{tiny_model}", ModelSource(tiny_model), settings)
