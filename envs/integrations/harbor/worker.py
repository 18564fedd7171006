"""The worker that opens Harbor tasks, in the interpreter that has the harbor package.

Harbor's own classes read the task, run the environment and verify it; this file only passes on. It
cannot import the harness: the standard library and harbor alone.
"""

import asyncio
import logging
import runpy
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PLAIN = "plain"


class Tasks:
    """Jobs about task folders, and at most one trial that is open."""

    def __init__(self) -> None:
        from harbor.models.task.task import Task

        self.task_class: Any = Task
        self.runner = asyncio.Runner()
        self.environment: Any = None
        self.task: Any = None
        self.paths: Any = None
        self.folder = ""

    def answer(self, job: dict[str, Any]) -> dict[str, Any]:
        """`tasks`, `open`, `exec`, `verify` or `close`, as the job says."""
        if job["ask"] == "tasks":
            return self.tasks(Path(job["path"]))
        asked: Any = getattr(self, f"_{job['ask']}")
        found: dict[str, Any] = self.runner.run(asked(job))
        return found

    def tasks(self, path: Path) -> dict[str, Any]:
        """Every task folder at or in a path, and the reason for each folder that is none."""
        folders = [path] if (path / "task.toml").exists() else sorted(path.iterdir())
        found, refused = [], []
        for folder in folders:
            if not folder.is_dir() or folder.name.startswith("."):
                continue
            try:
                task = self.task_class(folder)
                if task.has_steps:
                    raise ValueError("tasks of several steps are not supported")
                split = str(task.config.metadata.get("split", ""))
                found.append(
                    {
                        "name": folder.name,
                        "folder": str(folder.resolve()),
                        "instruction": task.instruction,
                        "checksum": task.checksum,
                        "split": split,
                    }
                )
            except Exception as error:  # a folder of anything
                refused.append(f"{folder.name}: {type(error).__name__}: {error}"[:300])
        return {"tasks": found, "refused": refused, "version": version("harbor")}

    async def _open(self, job: dict[str, Any]) -> dict[str, Any]:
        from harbor.environments.factory import EnvironmentFactory
        from harbor.models.environment_type import EnvironmentType
        from harbor.models.trial.paths import TrialPaths

        await self._close(job)
        self.folder = tempfile.mkdtemp(prefix="harness-harbor-")
        self.task = self.task_class(job["folder"])
        self.paths = TrialPaths(trial_dir=Path(self.folder))
        self.paths.mkdir()
        config = self.task.config
        policy, phases = _policies(config)
        arguments: dict[str, Any] = {
            "environment_dir": self.task.paths.environment_dir,
            "environment_name": self.task.short_name,
            "session_id": job["session"],
            "trial_paths": self.paths,
            "task_env_config": config.environment,
            "logger": logging.getLogger("harbor"),
            "network_policy": policy,
            "phase_network_policies": phases,
        }
        if job["environment"] == _PLAIN:
            made = runpy.run_path(str(Path(__file__).with_name("plain_docker.py")))["PlainDocker"]
            self.environment = made(
                **arguments,
                container_name=job["session"],
                labels=job["labels"],
                limits=job["limits"],
            )
        elif ":" in job["environment"]:
            self.environment = EnvironmentFactory.create_environment_from_import_path(
                job["environment"], **arguments
            )
        else:
            kind = EnvironmentType(job["environment"])
            self.environment = EnvironmentFactory.create_environment(kind, **arguments)
        self.environment.default_user = config.agent.user
        await self.environment.start(force_build=False)
        return {"ready": True}

    async def _exec(self, job: dict[str, Any]) -> dict[str, Any]:
        seconds = int(job["limit"])
        done = await self.environment.exec(job["command"], timeout_sec=seconds)
        return {"out": done.stdout or "", "err": done.stderr or "", "status": done.return_code}

    async def _verify(self, job: dict[str, Any]) -> dict[str, Any]:
        from harbor.verifier.verifier import Verifier

        end = getattr(self.environment, "end_processes", None)
        if end is not None:
            await end()
        self.environment.default_user = self.task.config.verifier.user
        verifier = Verifier(self.task, self.paths, self.environment)
        limit = float(self.task.config.verifier.timeout_sec)
        result = await asyncio.wait_for(verifier.verify(), limit)
        said = self.paths.test_stdout_path
        text = said.read_text("utf-8", "replace")[-2000:] if said.exists() else ""
        return {"rewards": dict(result.rewards or {}), "said": text}

    async def _close(self, job: dict[str, Any]) -> dict[str, Any]:
        environment, self.environment = self.environment, None
        try:
            if environment is not None:
                await environment.stop(delete=True)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
        return {"closed": True}


def _policies(config: Any) -> tuple[Any, list[Any]]:
    """The network of the container, and of the agent's and the verifier's phase."""
    from harbor.models.task.config import NetworkPolicy

    def policy(section: Any, otherwise: Any) -> Any:
        mode = getattr(section, "network_mode", None)
        if mode is None:
            return otherwise
        return NetworkPolicy(network_mode=mode, allowed_hosts=section.allowed_hosts or [])

    base = policy(config.environment, NetworkPolicy())
    return base, [policy(config.agent, base), policy(config.verifier, base)]


def make() -> Any:
    """The function from a job to its answer."""
    return Tasks().answer
