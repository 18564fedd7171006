"""Runs as tasks of a Ray cluster: each is finished somewhere, whatever is lost on the way.

A run whose worker or machine is lost is attempted again from its last save. Run directories that
every machine sees are worked in where they are; others are sent along, and saves are sent home.
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

from harness.errors import EngineError, HarnessError, RunError
from harness.evaluate import Interrupted
from harness.policies import kind_of
from harness.runs.finish import Terms, standings, unfinished
from harness.runs.progress_table import ProgressTable
from harness.runs.ray.cluster import check_nodes, check_room, connected, on_node, run_resources
from harness.runs.ray.ray_run_worker import Desk, Ended, Order, attempt
from harness.runs.ray.run_snapshot import install, take
from harness.runs.request import read_request
from harness.settings.config import Config
from harness.settings.executor import ExecutorSection
from harness.storage.lock import Lock

_TRIES = 3  # attempts in a row that may be lost without a round being saved
_ROOMLESS = 120.0  # seconds in which a node that was lost may come back
_SEND = 20.0  # seconds between saves that are sent home


@dataclass
class _Attempt:
    """A run under way: what it was ordered, and how far it was."""

    place: Path
    order: Order
    round: int


class RayRuns:
    """Finishes runs on a cluster."""

    def __init__(self, executor: ExecutorSection, terms: Terms) -> None:
        self._executor, self._terms = executor, terms
        self._attempts: dict[Path, int] = {}
        self._fruitless: dict[Path, int] = {}
        self._failed: dict[Path, Ended] = {}

    def work(self, places: Sequence[Path]) -> None:
        """See `Executor.work`. A run that fails does not stop the others; all are named at the end.

        Raises:
            EngineError: The cluster cannot be used, or has no room for such a run.
            Interrupted: Asked to stop; all have saved.
        """
        waiting = unfinished(places)
        if not waiting:
            return
        with connected(self._executor.address) as ray:
            shared = self._look_at(ray, waiting)
            node = ray.get_runtime_context().get_node_id()
            desk = ray.remote(num_cpus=0)(Desk).options(scheduling_strategy=on_node(node)).remote()
            view = standings(places, self._terms.quiet)
            try:
                _Shift(self, ray, desk, view, shared).work(waiting)
            finally:
                view.close()
                ray.kill(desk)
        self._complain(len(waiting))

    def _look_at(self, ray: Any, waiting: Sequence[Path]) -> bool:
        """True if all machines see the run directories; an unusable setting is refused."""
        check_room(ray, self._executor)
        sign = waiting[0] / f".sign-{secrets.token_hex(8)}"
        sign.touch()
        try:
            sees = check_nodes(ray, sign.resolve())
        finally:
            sign.unlink()
        if self._executor.run_dirs == "shared" and not sees:
            raise EngineError(
                f"executor.run_dirs is 'shared', but not every node sees {waiting[0].parent}; put "
                "it where they do with --run-dir, or leave run_dirs out."
            )
        return sees and self._executor.run_dirs != "shipped"

    def _complain(self, runs: int) -> None:
        if not self._failed:
            return
        told = "; ".join(f"{place.name}: {ended.told}" for place, ended in self._failed.items())
        error: HarnessError = RunError(
            f"{len(self._failed)} of {runs} runs failed ({told[:1500]}); mend that, and "
            f"harness resume {next(iter(self._failed)).parent} goes on with them."
        )
        codes = {ended.code for ended in self._failed.values()}
        error.exit_code = codes.pop() if len(codes) == 1 else RunError.exit_code
        raise error

    def order(self, place: Path, shared: bool) -> Order:
        """The next attempt at a run."""
        self._attempts[place] = number = self._attempts.get(place, 0) + 1
        request = self._request(place)
        return Order(
            name=str(place.resolve()),
            attempt=number,
            request=request.to_tables(),
            place=str(place.resolve()),
            shared=shared,
            home=str(Path.cwd()),
            track=tuple(self._terms.track),
            every=_SEND,
        )

    def _request(self, place: Path) -> Config:
        """With a number of threads: measured, it would differ from machine to machine."""
        request = read_request(place)
        if kind_of(request.model_url) != "hf" or request.model.threads:
            return request
        return replace(request, model=replace(request.model, threads=self._executor.cpus))

    def again(self, lost: _Attempt, round: int) -> bool:
        """True if a lost run is attempted again: not after repeated losses in one round."""
        fruitless = 1 if round > lost.round else self._fruitless.get(lost.place, 0) + 1
        self._fruitless[lost.place] = fruitless
        return fruitless < _TRIES

    def fail(self, place: Path, ended: Ended) -> None:
        """Remember a failure."""
        self._failed[place] = ended

    @property
    def executor(self) -> ExecutorSection:
        """The executor's settings."""
        return self._executor

    @property
    def terms(self) -> Terms:
        """The terms on which runs are finished."""
        return self._terms


class _Shift:
    """The loop of one connection: hand out, look, take in."""

    def __init__(
        self, runs: RayRuns, ray: Any, desk: Any, view: ProgressTable, shared: bool
    ) -> None:
        self._runs, self._ray, self._desk, self._view = runs, ray, desk, view
        self._shared = shared
        self._running: dict[Any, _Attempt] = {}
        self._waiting: deque[Path] = deque()
        self._exceptions: Any = importlib.import_module("ray.exceptions")
        self._stopping = False
        self._room_seen = time.monotonic()
        # A fresh worker each: nothing of a run before it is left in memory or on a GPU.
        self._task = ray.remote(max_retries=0, max_calls=1)(attempt)

    def work(self, places: Sequence[Path]) -> None:
        """Until all are finished, failed, or told to stop."""
        self._waiting.extend(places)
        with ExitStack() as locks:
            if not self._shared:  # nobody else may go on with them here meanwhile
                for place in places:
                    locks.enter_context(Lock(place / "run.lock"))
            while self._waiting or self._running:
                self._hand_out()
                ready, _ = self._ray.wait(list(self._running), timeout=0.3)
                self._take_in()
                for reference in ready:
                    self._end(reference, self._running.pop(reference))
                self._view.look()
        if self._stopping:
            raise Interrupted

    def _hand_out(self) -> None:
        if not self._stopping and self._runs.terms.stop():
            self._stopping = True
            self._ray.get(self._desk.stop.remote())
        if self._stopping:
            self._waiting.clear()
        limit = self._runs.executor.jobs or len(self._waiting) + len(self._running)
        while self._waiting and len(self._running) < limit:
            self._start(self._waiting.popleft())
        self._watch_room()

    def _start(self, place: Path) -> None:
        order = self._runs.order(place, self._shared)
        self._ray.get(self._desk.expect.remote(order.name, order.attempt))
        wants = run_resources(self._runs.executor)
        options: dict[str, Any] = {"num_cpus": wants.pop("CPU"), "num_gpus": wants.pop("GPU", 0)}
        options |= {"memory": int(wants.pop("memory", 0)) or None, "resources": wants}
        save = None if self._shared else self._ray.put(take(place))
        reference = self._task.options(**options).remote(order, self._desk, save)
        self._running[reference] = _Attempt(place, order, self._round(place))

    def _round(self, place: Path) -> int:
        run = self._view.runs[place]
        run.look()
        return run.round

    def _take_in(self) -> None:
        """Saves that came home, and where attempts are."""
        where, saves = self._ray.get(self._desk.fetch.remote())
        names = {one.order.name: one.place for one in self._running.values()}
        for name, address in where.items():
            if name in names:
                self._view.state(names[name], f"on {address}")
        for name, save in saves.items():
            if name in names:
                install(save, names[name])

    def _end(self, reference: Any, one: _Attempt) -> None:
        try:
            ended: Ended = self._ray.get(reference)
        except self._exceptions.RayTaskError as error:
            ended = Ended("failed", 1, " ".join(str(error).split())[-300:])
        except self._exceptions.RayError as error:
            self._lost(one, type(error).__name__)
            return
        if ended.how == "failed":
            self._runs.fail(one.place, ended)
            self._view.state(one.place, "failed")
            self._view.note(f"{self._view.runs[one.place].name}: {ended.told}")

    def _lost(self, one: _Attempt, why: str) -> None:
        round = self._round(one.place)
        if not self._runs.again(one, round):
            told = f"its worker was lost {_TRIES} times without a round being saved ({why})"
            self._runs.fail(one.place, Ended("failed", EngineError.exit_code, told))
            self._view.state(one.place, "failed")
            return
        self._view.state(one.place, "waits")
        self._view.note(
            f"{self._view.runs[one.place].name}: its worker was lost ({why}); it goes on from "
            f"round {round}"
        )
        self._waiting.append(one.place)

    def _watch_room(self) -> None:
        """Give up where the machines that are left could never hold a run."""
        try:
            check_room(self._ray, self._runs.executor)
            self._room_seen = time.monotonic()
        except EngineError:
            if time.monotonic() - self._room_seen > _ROOMLESS:
                raise
