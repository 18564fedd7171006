"""The opening of the test split by a run, and what its entry tells of second draws."""

from pathlib import Path
from types import TracebackType
from typing import Self

from harness.evaluate import record_test_agent
from harness.storage.evaluation_starts import add_start
from harness.storage.request_log import RequestLog
from harness.types import Agent

REQUESTS = "test_requests.jsonl"


class HeldOutEvaluation:
    """The single held-out evaluation of a run, opened or gone on with.

    `requests` is None on a deterministic backend, where an episode that is sampled again is the
    same again; `notes` tell of evaluations from copies of the run directory.

    Raises:
        RunError: The run was evaluated with another agent, or its records are incomplete.
    """

    def __init__(self, folder: Path, agent: Agent, deterministic: bool) -> None:
        self.requests = None if deterministic else RequestLog(folder / REQUESTS)
        self.notes: tuple[str, ...] = ()
        try:
            record_test_agent(folder, agent, self.requests)
            if self.requests is not None:
                starts = self.requests.starts
                self.notes = tuple(filter(None, [add_start(folder, starts[-1], starts)]))
        except BaseException:
            self._close()
            raise

    @property
    def asked_again(self) -> int:
        """The number of second requests for an episode."""
        return 0 if self.requests is None else self.requests.again

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self.requests is not None:
            self.requests.close()
