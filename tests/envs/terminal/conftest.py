"""Rooms on the Docker daemon that serves these tests."""

from collections.abc import Iterator

import pytest

from envs.containers import ContainerLimits, FileTree, Sandbox
from envs.containers.daemon import connect
from envs.containers.image import shell_image
from envs.containers.owner import identity
from envs.containers.reaping import left


@pytest.fixture(scope="session")
def image(docker_host: str) -> str:
    """The tiny image."""
    return shell_image(connect())


@pytest.fixture
def nothing_left(docker_host: str) -> Iterator[None]:
    """What a test makes on the daemon is gone when it ends."""
    mine = identity()
    before = left(connect(), lambda labels: mine in labels.values())
    yield
    assert set(left(connect(), lambda labels: mine in labels.values())) <= set(before)


@pytest.fixture(scope="module")
def shared_room(image: str) -> Iterator[Sandbox]:
    """A scratch with a container for many tests: one that was attacked must serve the next."""
    with Sandbox(image, ContainerLimits(), FileTree()) as made:
        yield made


@pytest.fixture
def room(shared_room: Sandbox) -> Sandbox:
    """The shared scratch, emptied."""
    emptied = "chmod -R u+rwx . 2>/dev/null; find . /tmp -mindepth 1 -maxdepth 1 -exec rm -rf {} +"
    assert shared_room.run(emptied, 60).status == 0
    return shared_room
