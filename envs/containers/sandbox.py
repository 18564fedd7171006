"""A scratch folder with hard limits and a container over it in which commands run, one at a time.

The scratch is a volume in memory; the container may be exchanged, the scratch stays. When a command
ends nothing of it keeps running: where something does, the container is killed and a fresh one
takes over the same scratch, which works on a fork bomb as well as on a sleeping process.
"""

import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from envs.containers.archive import FileTree, pack, unpack
from envs.containers.daemon import connect, start_slot
from envs.containers.errors import Exhausted, SandboxError, failing_as_sandbox
from envs.containers.limits import (
    AGENT,
    KEEPER,
    WORK,
    ContainerLimits,
    host_settings,
    scratch_options,
)
from envs.containers.owner import labels
from envs.containers.reaping import remove_container, remove_volume
from envs.containers.streams import Command, Output, execute

_REMOVAL_SECONDS = 30.0
# HOME is outside the scratch, so that what tools leave at home is not judged.
_BARE = {"HOME": "/tmp", "LANG": "C.UTF-8"}
# The glob finds process 1, its sleep and this shell. What has just ended may still be listed.
_ALONE = """for look in 1 2 3; do
  set -- /proc/[0-9]*
  [ $# -le 3 ] && exit 0
  sleep 0.02
done
exit 1"""


class Sandbox:
    """A container and its scratch; a context manager that leaves nothing behind.

    `files` fill the scratch and belong to `owner`. `hidden` are trees by path, for containers no
    agent's command runs in at the same time. Every method raises SandboxError where Docker fails,
    and Exhausted where the container ended for want of memory.
    """

    def __init__(
        self,
        image: str,
        limits: ContainerLimits,
        files: FileTree,
        *,
        owner: str = AGENT,
        hidden: Mapping[str, FileTree] | None = None,
    ) -> None:
        self._image, self._limits = image, limits
        self._volumes: dict[str, str] = {}
        self._containers: list[str] = []
        try:
            with failing_as_sandbox("start a container"):
                for path in (WORK, *(hidden or {})):
                    self._volumes[path] = self._volume()
                self._start()
                self._put(WORK, files, owner)
                for path, tree in (hidden or {}).items():
                    self._put(path, tree, "0:0")
        # After Ctrl-C too: what was made so far would otherwise stay until this process ends.
        except BaseException:
            self.close()
            raise

    def run(
        self,
        script: str,
        seconds: float,
        *,
        user: str = AGENT,
        environment: Mapping[str, str] | None = None,
        merged: bool = True,
        last: bool = False,
    ) -> Output:
        """Run a shell script in the scratch; when this returns, nothing of it is running.

        After the `last` one that is not seen to: closing the sandbox does it. `merged`: see
        streams.Command.
        """
        command = replace(
            self._command(script, seconds),
            user=user,
            environment={**_BARE, **(environment or {})},
            merged=merged,
        )
        with failing_as_sandbox("run a command"):
            output = execute(self._client.api, self._container, command)
            self._refuse_dead()
            # While output is held the daemon answers new questions late.
            if not last and (output.stopped or output.held or self._busy()):
                self._exchange()
        return output

    def export(self) -> FileTree:
        """A copy of the scratch; raises archive.TooMuch where it is larger than it may look."""
        api = self._client.api
        url = f"{api.base_url}/v{api.api_version}/containers/{self._container}/archive"
        with failing_as_sandbox("copy the scratch"):
            self._refuse_dead()
            # The SDK's own call cannot stop in the middle, and the daemon waits for who reads.
            with api.get(url, params={"path": WORK}, stream=True, timeout=60) as answer:
                answer.raise_for_status()
                pieces = answer.iter_content(1 << 16)
                return unpack(pieces, self._limits.scratch_mb << 20)

    def is_running(self) -> bool:
        """True if the container exists and runs; raises SandboxError where Docker fails."""
        with failing_as_sandbox("look at a container"):
            return bool(self._client.api.inspect_container(self._container)["State"]["Running"])

    def close(self) -> None:
        """Kill and remove all; doing so again goes on where a failure stopped it."""
        deadline = time.monotonic() + _REMOVAL_SECONDS
        with failing_as_sandbox("remove a container"):
            # Containers first: the daemon keeps a volume as long as one uses it.
            while self._containers:
                if remove_container(self._client, self._containers[-1]):
                    self._containers.pop()
                self._refuse_late(deadline)
            while self._volumes:
                path, name = next(iter(self._volumes.items()))
                if remove_volume(self._client, name):
                    del self._volumes[path]
                self._refuse_late(deadline)

    def _refuse_late(self, deadline: float) -> None:
        if not self._containers and not self._volumes:
            return
        if time.monotonic() > deadline:
            raise SandboxError("Docker does not remove a container; see docker ps --all.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _container(self) -> str:
        return self._containers[-1]

    @property
    def _client(self) -> Any:
        # Not kept: the next call may come from another thread, which has a client of its own.
        return connect()

    def _command(self, script: str, seconds: float) -> Command:
        return Command(
            script=script,
            user=AGENT,
            folder=WORK,
            environment=_BARE,
            seconds=seconds,
            output_bytes=self._limits.output_bytes,
            output_stop=self._limits.output_stop,
        )

    def _volume(self) -> str:
        name = f"espl-harness-{uuid.uuid4().hex}"
        self._client.api.create_volume(
            name, "local", scratch_options(self._limits), labels(self._limits.life_seconds)
        )
        return name

    def _start(self) -> None:
        api, life = self._client.api, self._limits.life_seconds
        settings = host_settings(self._limits, self._volumes)
        with start_slot():
            made = api.create_container(
                self._image,
                # Waiting, the shell buries orphans; when the sleep is over the container ends, also
                # if nobody is left who would remove it.
                ["-c", f"sleep {life} & wait"],
                # A user's image may have an entry point of its own, which would run in the keeper's
                # place.
                entrypoint=["/bin/sh"],
                user=KEEPER,
                working_dir="/",
                hostname="shell",
                labels=labels(life),
                host_config=api.create_host_config(**settings),
            )
            self._containers.append(str(made["Id"]))
            api.start(self._container)

    def _put(self, path: str, tree: FileTree, owner: str) -> None:
        # Only into containers in which no command has run yet: no link of an agent can be there.
        if not self._client.api.put_archive(self._container, path, pack(tree, owner)):
            raise SandboxError(f"Docker did not take the files for {path}.")

    def _refuse_dead(self) -> None:
        state: Mapping[str, Any] = self._client.api.inspect_container(self._container)["State"]
        if not state["Running"]:
            if state.get("OOMKilled"):
                raise Exhausted("the memory of the container")
            why = f"status {state.get('ExitCode')}"
            raise SandboxError(f"The container ended by itself ({why}); play the task again.")

    def _busy(self) -> bool:
        """True while anything but the keeper and this question runs."""
        import docker.errors

        asked = replace(self._command(_ALONE, 10.0), user=KEEPER)
        try:
            return execute(self._client.api, self._container, asked).status != 0
        except docker.errors.APIError:
            # Where every process is taken not even the question can be asked.
            return True

    def _exchange(self) -> None:
        # The scratch lives in memory while some container has it, so the new one comes first.
        old = self._container
        self._start()
        if remove_container(self._client, old):
            self._containers.remove(old)
