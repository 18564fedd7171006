"""What is left behind, and by whom: nothing by those who exit, nothing for long by those killed."""

import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from envs.containers.daemon import connect
from envs.containers.owner import OWNER
from envs.containers.reaping import left, reap_orphans

# A shell's background jobs, and what they start, ignore SIGINT unless they say otherwise.
OPENING = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from envs.containers import ContainerLimits, Sandbox, FileTree
from envs.containers.daemon import connect
from envs.containers.image import shell_image
from envs.containers.owner import identity
room = Sandbox(shell_image(connect()), ContainerLimits(), FileTree())
print(identity(), flush=True)
"""


@contextmanager
def opened(then):
    """A process that has a container open and goes on with `then`; and its identity."""
    process = subprocess.Popen(
        [sys.executable, "-c", OPENING + then],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        identity = process.stdout.readline().strip()
        try:
            assert identity, process.stderr.read()
            yield process, identity
        finally:
            process.kill()


def of(identity):
    return left(connect(), lambda labels: labels.get(OWNER) == identity)


@pytest.mark.parametrize("then", ["", "raise ValueError"])
def test_a_process_that_exits_leaves_nothing(image, then):
    with opened(then) as (process, identity):
        process.communicate(timeout=120)
        assert of(identity) == []


def test_a_process_that_is_interrupted_leaves_nothing(image):
    with opened("time.sleep(600)") as (process, identity):
        assert len(of(identity)) == 2
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
        assert of(identity) == []


def test_what_a_killed_process_left_is_removed_by_the_next_start(image):
    with opened("time.sleep(600)") as (process, killed):
        process.kill()
        process.communicate(timeout=120)
        assert len(of(killed)) == 2
    with opened("time.sleep(600)") as (process, living):
        assert of(killed) == [] and len(of(living)) == 2
        assert reap_orphans(connect()) == 0
        assert len(of(living)) == 2
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
        assert of(living) == []
