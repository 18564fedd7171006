"""Containers with hard limits for an agent's commands, made through the Docker SDK.

Nothing here knows of tasks or rewards. Refused: a daemon that cannot keep the limits, an image that
would have to be pulled, files that are neither regular nor directories. The threat model, and the
command that shows each guarantee, are in docs/terminal.md.
"""

from envs.containers.archive import File, FileTree, TooMuch
from envs.containers.errors import DockerUnavailable, SandboxError
from envs.containers.limits import ContainerLimits
from envs.containers.sandbox import Sandbox
from envs.containers.streams import Output

__all__ = [
    "ContainerLimits",
    "DockerUnavailable",
    "File",
    "FileTree",
    "Output",
    "Sandbox",
    "SandboxError",
    "TooMuch",
]
