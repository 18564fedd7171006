"""Whose doing a failure is, and the room that a copy of a scratch has; no Docker is needed."""

import pytest

from envs.containers import ContainerLimits, File, FileTree, SandboxError
from envs.containers.judging import with_room
from envs.terminal.fault import is_agents_doing


def works():
    """Nothing fails."""


def fails():
    raise SandboxError("no space left on device")


@pytest.mark.parametrize(
    ("again", "untouched", "agents"),
    [(fails, works, True), (works, works, False), (fails, fails, False), (works, fails, False)],
)
def test_only_what_recurs_and_fails_with_the_agents_files_alone_is_its_doing(
    again, untouched, agents
):
    assert is_agents_doing(again, untouched) is agents


def test_a_copy_in_which_links_have_become_files_has_room():
    linked = FileTree({f"l{n}": File(b"x") for n in range(4000)})
    roomy = with_room(ContainerLimits(), linked)
    assert roomy.scratch_mb << 20 >= 4000 * 4096 + (16 << 20)
    assert roomy.scratch_files >= 8000
    full = FileTree({"big": File(bytes(16 << 20))})
    assert with_room(ContainerLimits(), full).scratch_mb >= 32
    small = with_room(ContainerLimits(), FileTree({"a": File(b"x")}))
    assert small.scratch_mb == ContainerLimits().scratch_mb + 1
