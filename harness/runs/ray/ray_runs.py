"""Runs as tasks of a Ray cluster: each is finished somewhere, whatever is lost on the way.

A run whose worker or machine is lost is attempted again from its last save. Run directories that
every machine sees are used where they are; others are copied to a worker, and saves are sent back.
"""

import importlib
import secrets
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import ExecutorError, HarnessError, RunError
from harness.evaluate import Interrupted
from harness.policies import kind_of
from harness.runs.finish import FinishOptions, standings, unfinished
from harness.runs.limits import LimitReached
from harness.runs.progress_table import ProgressTable
from harness.runs.ray.cluster import check_nodes, check_room, connected, on_node, run_resources
from harness.runs.ray.ray_run_worker import AttemptResult, ResultCollector, RunTask, attempt
from harness.runs.ray.run_snapshot import install, take
from harness.runs.request import read_request
from harness.settings.config import Config
from harness.settings.executor import ExecutorSection
from harness.storage.lock import Lock
from leaderboards.boards.formatting import counted

_MAX_LOSSES = 3  # attempts in a row that may be lost without a round being saved
_NODE_WAIT = 120.0  # seconds in which a node that was lost may come back
_SEND = 20.0  # seconds between saves that a worker sends back


@dataclass
class _RunningAttempt:
    """A run under way: its task, and the round that it started from."""

    run_dir: Path
    task: RunTask
    round: int


class RayRuns:
    """Finishes runs on a cluster."""

    def __init__(self, executor: ExecutorSection, options: FinishOptions) -> None:
        self._executor, self._options = executor, options
        self._attempts: dict[Path, int] = {}
        self._losses: dict[Path, int] = {}
        self._failed: dict[Path, AttemptResult] = {}
        self.limited: list[str] = []

    def work(self, run_dirs: Sequence[Path]) -> None:
        """See `Executor.work`. A run that fails does not stop the others; all are named at the end.

        Raises:
            ExecutorError: The cluster cannot be used, or has no room for such a run.
            Interrupted: Asked to stop; all have saved.
        """
        waiting = unfinished(run_dirs)
        if not waiting:
            return
        with connected(self._executor.address) as ray:
            shared = self._check_cluster(ray, waiting)
            node = ray.get_runtime_context().get_node_id()
            # On this node, and without a CPU: it takes no run's place, and no other machine's loss
            # ends it.
            collector = (
                ray.remote(num_cpus=0)(ResultCollector)
                .options(scheduling_strategy=on_node(node))
                .remote()
            )
            view = standings(run_dirs, self._options.quiet)
            try:
                _Scheduler(self, ray, collector, view, shared).work(waiting)
            finally:
                view.close()
                ray.kill(collector)
        self._raise_failures(len(waiting))
        if self.limited:
            raise LimitReached("; ".join(self.limited))

    def _check_cluster(self, ray: Any, waiting: Sequence[Path]) -> bool:
        """True if all machines see the run directories; an unusable setting is refused."""
        check_room(ray, self._executor)
        # A new name: a file of the same path on another machine is not taken for this one.
        sign = waiting[0] / f".sign-{secrets.token_hex(8)}"
        sign.touch()
        try:
            sees = check_nodes(ray, sign.resolve())
        finally:
            sign.unlink()
        if self._executor.run_dirs == "shared" and not sees:
            raise ExecutorError(
                f"executor.run_dirs is 'shared', but not every node sees {waiting[0].parent}; put "
                "it where they do with --run-dir, or leave run_dirs out."
            )
        return sees and self._executor.run_dirs != "shipped"

    def _raise_failures(self, runs: int) -> None:
        if not self._failed:
            return
        message = "; ".join(
            f"{run_dir.name}: {ended.message}" for run_dir, ended in self._failed.items()
        )
        error: HarnessError = RunError(
            f"{len(self._failed)} of {counted(runs, 'run')} failed ({message[:1500]}); mend that, "
            f"and harness resume {next(iter(self._failed)).parent} goes on with them."
        )
        codes = {ended.code for ended in self._failed.values()}
        error.exit_code = codes.pop() if len(codes) == 1 else RunError.exit_code
        raise error

    def next_task(self, run_dir: Path, shared: bool) -> RunTask:
        """The next attempt at a run."""
        self._attempts[run_dir] = number = self._attempts.get(run_dir, 0) + 1
        request = self._request(run_dir)
        return RunTask(
            name=str(run_dir.resolve()),
            attempt=number,
            request=request.to_tables(),
            run_dir=str(run_dir.resolve()),
            shared=shared,
            working_dir=str(Path.cwd()),
            track=tuple(self._options.track),
            save_interval=_SEND,
        )

    def _request(self, run_dir: Path) -> Config:
        """With a number of threads: measured, it would differ from machine to machine."""
        request = read_request(run_dir)
        if kind_of(request.model_url) != "hf" or request.model.threads:
            return request
        return replace(request, model=replace(request.model, threads=self._executor.cpus))

    def may_retry(self, lost: _RunningAttempt, round: int) -> bool:
        """True if a lost run is attempted again: not after repeated losses in one round."""
        # A saved round is progress, after which losses are counted anew.
        losses = 1 if round > lost.round else self._losses.get(lost.run_dir, 0) + 1
        self._losses[lost.run_dir] = losses
        return losses < _MAX_LOSSES

    def fail(self, run_dir: Path, ended: AttemptResult) -> None:
        """Remember a failure."""
        self._failed[run_dir] = ended

    @property
    def executor(self) -> ExecutorSection:
        """The executor's settings."""
        return self._executor

    @property
    def options(self) -> FinishOptions:
        """The options with which runs are finished."""
        return self._options


class _Scheduler:
    """The loop over one connection: submit runs, wait, collect saves and results."""

    def __init__(
        self, runs: RayRuns, ray: Any, collector: Any, view: ProgressTable, shared: bool
    ) -> None:
        self._runs, self._ray, self._collector, self._view = runs, ray, collector, view
        self._shared = shared
        self._running: dict[Any, _RunningAttempt] = {}
        self._waiting: deque[Path] = deque()
        self._exceptions: Any = importlib.import_module("ray.exceptions")
        self._stopping = False
        self._capacity_seen = time.monotonic()
        # A fresh worker each: nothing of a run before it is left in memory or on a GPU.
        self._task = ray.remote(max_retries=0, max_calls=1)(attempt)

    def work(self, run_dirs: Sequence[Path]) -> None:
        """Return once all are finished, failed or stopped."""
        self._waiting.extend(run_dirs)
        with ExitStack() as locks:
            if not self._shared:  # nobody else may go on with them here meanwhile
                for run_dir in run_dirs:
                    locks.enter_context(Lock(run_dir / "run.lock"))
            while self._waiting or self._running:
                self._submit_waiting()
                ready, _ = self._ray.wait(list(self._running), timeout=0.3)
                self._collect_saves()
                for reference in ready:
                    self._end(reference, self._running.pop(reference))
                self._view.look()
        if self._stopping:
            raise Interrupted

    def _submit_waiting(self) -> None:
        if not self._stopping and self._runs.options.stop():
            self._stopping = True
            self._ray.get(self._collector.stop.remote())
        if self._stopping:
            self._waiting.clear()
        limit = self._runs.executor.jobs or len(self._waiting) + len(self._running)
        while self._waiting and len(self._running) < limit:
            self._start(self._waiting.popleft())
        self._check_capacity()

    def _start(self, run_dir: Path) -> None:
        task = self._runs.next_task(run_dir, self._shared)
        self._ray.get(self._collector.expect.remote(task.name, task.attempt))
        wants = run_resources(self._runs.executor)
        options: dict[str, Any] = {"num_cpus": wants.pop("CPU"), "num_gpus": wants.pop("GPU", 0)}
        options |= {"memory": int(wants.pop("memory", 0)) or None, "resources": wants}
        save = None if self._shared else self._ray.put(take(run_dir))
        reference = self._task.options(**options).remote(task, self._collector, save)
        self._running[reference] = _RunningAttempt(run_dir, task, self._round(run_dir))

    def _round(self, run_dir: Path) -> int:
        run = self._view.runs[run_dir]
        run.look()
        return run.round

    def _collect_saves(self) -> None:
        """Install the saves that workers sent, and show the nodes of attempts."""
        where, saves = self._ray.get(self._collector.fetch.remote())
        names = {one.task.name: one.run_dir for one in self._running.values()}
        for name, address in where.items():
            if name in names:
                self._view.state(names[name], f"on {address}")
        for name, save in saves.items():
            if name in names:
                install(save, names[name])

    def _end(self, reference: Any, one: _RunningAttempt) -> None:
        try:
            ended: AttemptResult = self._ray.get(reference)
        # Raised within the attempt; any other error of Ray means that its worker was lost.
        except self._exceptions.RayTaskError as error:
            ended = AttemptResult("failed", 1, " ".join(str(error).split())[-300:])
        except self._exceptions.RayError as error:
            self._lost(one, type(error).__name__)
            return
        if ended.status == "limited":
            self._runs.limited.append(ended.message)
            self._view.state(one.run_dir, "stopped")
        if ended.status == "failed":
            self._runs.fail(one.run_dir, ended)
            self._view.state(one.run_dir, "failed")
            self._view.note(f"{self._view.runs[one.run_dir].name}: {ended.message}")

    def _lost(self, one: _RunningAttempt, why: str) -> None:
        round = self._round(one.run_dir)
        if not self._runs.may_retry(one, round):
            message = f"its worker was lost {_MAX_LOSSES} times without a round being saved ({why})"
            self._runs.fail(one.run_dir, AttemptResult("failed", ExecutorError.exit_code, message))
            self._view.state(one.run_dir, "failed")
            return
        self._view.state(one.run_dir, "waits")
        self._view.note(
            f"{self._view.runs[one.run_dir].name}: its worker was lost ({why}); it goes on from "
            f"round {round}"
        )
        self._waiting.append(one.run_dir)

    def _check_capacity(self) -> None:
        """Give up where the machines that are left could never hold a run."""
        try:
            check_room(self._ray, self._runs.executor)
            self._capacity_seen = time.monotonic()
        except ExecutorError:
            if time.monotonic() - self._capacity_seen > _NODE_WAIT:
                raise
