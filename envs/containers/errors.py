"""Errors of containers, in the tree of `envs.errors`.

A `SandboxError` is taken for the machine's failure: it ends an episode as failed, without a score.
An `Exhausted` sandbox is the agent's doing.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from envs.errors import EnvError


class DockerUnavailable(EnvError):
    """There is no Docker daemon that can be used; the message says what to do."""


class SandboxError(EnvError):
    """A container or the daemon failed; nothing can be said about the agent."""


class Exhausted(Exception):
    """An agent's commands used up what the container may have; says what."""


@contextmanager
def failing_as_sandbox(doing: str) -> Iterator[None]:
    """Turn what Docker, HTTP or the socket raise into a SandboxError that says what was done."""
    import docker.errors
    import requests

    try:
        yield
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise SandboxError(f"Docker could not {doing}: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """An error's own words, without line breaks, at most 300 characters."""
    return " ".join(str(error).split())[:300] or type(error).__name__
