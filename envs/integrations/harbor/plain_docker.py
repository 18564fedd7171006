"""Harbor's environment interface over plain `docker`, for machines without Docker Compose.

Run by the interpreter that has the harbor package. A task of one container is all it can run: one
with a docker-compose.yaml needs Harbor's own `docker`.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

from harbor.environments.base import BaseEnvironment, ExecResult
from harbor.environments.capabilities import EnvironmentCapabilities

_KEPT_BYTES = 1 << 20  # of a command's output
_LOGS = "/logs/agent /logs/verifier /logs/artifacts"
# Process 1 survives when all others are killed, and waits for those whose parents are gone.
_FIRST_PROCESS = "while :; do sleep 3600 & wait; done"
_STOPPED = 124  # as the tool timeout reports it


class PlainDocker(BaseEnvironment):  # type: ignore[misc]  # harbor is not installed here
    """One container: built or named by the task, kept alive by a sleep, removed at the end.

    Args:
        container_name: its name, so that others can remove it too.
        labels: labels by which leftovers are known.
        limits: arguments of `docker run` that limit it.
    """

    def __init__(
        self,
        *arguments: Any,
        container_name: str,
        labels: dict[str, str],
        limits: list[str],
        **more: Any,
    ) -> None:
        self._name, self._labels, self._limits = container_name, labels, limits
        self._shell, self._timeout = "sh", False
        super().__init__(*arguments, **more)

    @staticmethod
    def type() -> str:
        """The name of this kind of environment."""
        return "plain-docker"

    @property
    def capabilities(self) -> EnvironmentCapabilities:
        """The network can be there or not; nothing finer."""
        return EnvironmentCapabilities(disable_internet=True)

    def _validate_definition(self) -> None:
        if (self.environment_dir / "docker-compose.yaml").exists():
            raise ValueError("it has a docker-compose.yaml: use environment=docker with Compose")
        named = self.task_env_config.docker_image
        if not named and not (self.environment_dir / "Dockerfile").exists():
            raise FileNotFoundError("it has neither environment/Dockerfile nor docker_image")

    async def start(self, force_build: bool) -> None:
        """Build the image where none is named, and start the container."""
        config = self.task_env_config
        offline = getattr(self._network_policy.network_mode, "value", "") == "no-network"
        image = config.docker_image or f"espl-harness/harbor:{str(self.environment_id)[-16:]}"
        if not config.docker_image:
            network = ["--network", "none"] if offline else []
            await self._docker("build", *network, "-t", image, str(self.environment_dir))
        arguments = ["--detach", "--name", self._name, *self._limits]
        arguments += [f"--label={key}={value}" for key, value in self._labels.items()]
        arguments += ["--network", "none"] if offline else []
        if config.memory_mb:
            arguments += ["--memory", f"{config.memory_mb}m"]
        if config.cpus:
            arguments += ["--cpus", str(config.cpus)]
        for key, value in (config.env or {}).items():
            arguments += ["--env", f"{key}={value}"]
        arguments += ["--entrypoint", "", image, "sh", "-c", _FIRST_PROCESS]
        await self._docker("run", *arguments)
        for tool in ("bash", "timeout"):
            found = await self._exec_plain(["sh", "-c", f"command -v {tool}"], 30)
            if found.return_code == 0:
                self._shell = "bash" if tool == "bash" else self._shell
                self._timeout = self._timeout or tool == "timeout"
        made = await self.exec(f"mkdir -p {_LOGS} && chmod 777 {_LOGS}", user="root")
        if made.return_code != 0:
            raise RuntimeError(f"the container has no usable shell: {made.stderr}")

    async def stop(self, delete: bool) -> None:
        """Remove the container."""
        await self._docker("rm", "--force", "--volumes", self._name)

    async def end_processes(self) -> None:
        """Kill all that the agent left running, so that nothing touches what is verified."""
        await self._exec_plain(["sh", "-c", "kill -9 -1"], 30, user="root")

    async def upload_file(self, source_path: Any, target_path: str) -> None:
        """Copy a file in."""
        await self._parent(target_path)
        await self._docker("cp", str(source_path), f"{self._name}:{target_path}")

    async def upload_dir(self, source_dir: Any, target_dir: str) -> None:
        """Copy a folder's content in."""
        await self.exec(f"mkdir -p '{target_dir}'", user="root")
        await self._docker("cp", f"{source_dir}/.", f"{self._name}:{target_dir}")

    async def download_file(self, source_path: str, target_path: Any) -> None:
        """Copy a file out."""
        await self._docker("cp", f"{self._name}:{source_path}", str(target_path))

    async def download_dir(self, source_dir: str, target_dir: Any) -> None:
        """Copy a folder's content out."""
        Path(target_dir).mkdir(parents=True, exist_ok=True)
        await self._docker("cp", f"{self._name}:{source_dir}/.", str(target_dir))

    async def exec(
        self,
        command: str,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        timeout_sec: int | None = None,
        user: str | int | None = None,
    ) -> ExecResult:
        """Run a command by the container's shell."""
        limit = ["timeout", "-s", "KILL", str(timeout_sec)] if timeout_sec and self._timeout else []
        wanted = self.task_env_config.workdir if cwd is None else cwd
        who = user if user is not None else self.default_user
        return await self._exec_plain(
            [*limit, self._shell, "-c", command],
            (timeout_sec or 3600) + 10,
            cwd=wanted or "",
            env=env or {},
            user="" if who is None else str(who),
        )

    async def _exec_plain(
        self,
        command: list[str],
        seconds: float,
        cwd: str = "",
        env: dict[str, str] | None = None,
        user: str = "",
    ) -> ExecResult:
        arguments = ["--workdir", cwd] if cwd else []
        arguments += ["--user", user] if user else []
        for key, value in (env or {}).items():
            arguments += ["--env", f"{key}={value}"]
        return await _run("docker", "exec", *arguments, self._name, *command, seconds=seconds)

    async def _parent(self, path: str) -> None:
        await self.exec(f"mkdir -p '{os.path.dirname(path) or '/'}'", user="root")

    async def _docker(self, *arguments: str) -> None:
        seconds = float(self.task_env_config.build_timeout_sec)
        done = await _run("docker", *arguments, seconds=seconds)
        if done.return_code != 0:
            said = " ".join((done.stderr or done.stdout or "").split())[-400:]
            raise RuntimeError(f"docker {arguments[0]} failed: {said}")


async def _run(*command: str, seconds: float) -> ExecResult:
    """Run a program; of its output the first megabyte is kept."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    both = asyncio.gather(_kept(process.stdout), _kept(process.stderr), process.wait())
    try:
        out, err, status = await asyncio.wait_for(both, seconds)
    except TimeoutError:
        process.kill()
        await process.wait()
        return ExecResult(stdout="", stderr="", return_code=_STOPPED)
    return ExecResult(stdout=out, stderr=err, return_code=status)


async def _kept(stream: asyncio.StreamReader) -> str:
    kept = bytearray()
    while chunk := await stream.read(65536):
        kept += chunk[: max(0, _KEPT_BYTES - len(kept))]
    return kept.decode("utf-8", "replace")
