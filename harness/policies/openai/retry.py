"""Retry, rate-limit and outage policy for an endpoint.

Three cases end differently. A server that says when it may be asked again gets no request from
anyone until then. A request that fails again and again while the server answers others has failed
for good: its episode is unscored. A server that answers no request is waited for, and then stops
the run, so that no outage is ever counted as outcomes.
"""

import math
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from harness.errors import ModelError
from harness.policies.openai.response import MalformedResponse

T = TypeVar("T")
_FIRST, _LONGEST = 0.5, 30.0  # seconds between two tries, doubled each time


class Abandoned(Exception):
    """The caller no longer wants the answer."""


class RetryPolicy:
    """The state that all requests to one server share. Thread-safe.

    `transient` tells whether an error may pass, `delay` the seconds that the server asked for with
    it (None: it did not), `probe` sends the smallest possible request.
    """

    def __init__(
        self,
        retries: int,
        seconds: float,
        transient: Callable[[Exception], bool],
        delay: Callable[[Exception], float | None],
        probe: Callable[[], object],
    ) -> None:
        self._retries, self._seconds = retries, seconds
        self._transient, self._delay, self._probe = transient, delay, probe
        self._abandoned = threading.Event()
        self._probing, self._postponing = threading.Lock(), threading.Lock()
        self._not_before = 0.0  # no request is sent before this moment
        # Times of the last answer and of the end of the last outage.
        self._answered = self._recovered = float("-inf")
        self._outage: ModelError | None = None

    def abandon(self) -> None:
        """Wake all waiting threads with `Abandoned`."""
        self._abandoned.set()

    def call(self, ask: Callable[[], T], key: int, wait_out_outages: bool = True) -> T:
        """Call `ask` until it answers, or its error is permanent; `key` spreads retries over time.

        Without `wait_out_outages`, the last error is raised once retries are used up.

        Raises:
            ModelError: The server has answered no request for the whole patience.
        """
        tries, began = 0, time.monotonic()
        while True:
            sent = self._wait_until_allowed()
            try:
                answer = ask()
            except ModelError:
                raise  # the server cannot be used at all
            except Exception as error:
                wanted = self._delay(error)
                if wanted is not None and sent - began + wanted < self._seconds:
                    self._postpone(wanted)
                    continue  # busy, as it says itself: not a failed attempt
                tries += 1
                if self._transient(error) and tries <= self._retries:
                    # Between half and all of the pause, by the request's own key: what failed
                    # together does not come back together, and no random number is drawn.
                    self._wait(min(_LONGEST, _FIRST * 2 ** (tries - 1)) * (1 + key % 97 / 97) / 2)
                elif wait_out_outages and self._wait_out_outage(error, sent):
                    tries, began = 0, time.monotonic()
                else:
                    raise
            else:
                self._answered = time.monotonic()
                return answer

    def _wait_out_outage(self, error: Exception, sent: float) -> bool:
        """True once an outage has ended; False where the server answers other requests."""
        with self._probing:  # one thread probes; the others read its result
            # It came back after this request was sent: another thread has seen to it.
            if self._recovered > sent:
                return True
            if self._outage is not None:
                raise self._outage
            # The server answers others, or a probe: the fault lies with this request.
            if self._answered > sent or self._alive():
                return False
            pause, until = _FIRST, time.monotonic() + self._seconds
            while time.monotonic() < until:
                self._wait(min(pause, until - time.monotonic()))
                pause = min(_LONGEST, 2 * pause)
                if self._alive():
                    self._recovered = time.monotonic()
                    return True
            self._outage = ModelError(
                f"The endpoint has answered nobody for {self._seconds:g} s ({error}). What was "
                "finished is kept: when it is back, go on with harness resume."
            )
            raise self._outage

    def _alive(self) -> bool:
        self._wait_until_allowed()  # probes obey the rate limit too
        try:
            self._probe()
        except Exception as error:
            self._postpone(self._delay(error) or 0.0)
            return False
        return True

    def _wait_until_allowed(self) -> float:
        """Wait until the server may be asked; returns that moment."""
        while (now := time.monotonic()) < self._not_before:  # may be postponed further meanwhile
            self._wait(self._not_before - now)
        return now

    def _postpone(self, seconds: float) -> None:
        # Under a lock, so that of two postponements the later moment always stands.
        with self._postponing:
            self._not_before = max(self._not_before, time.monotonic() + min(seconds, self._seconds))

    def _wait(self, seconds: float) -> None:
        if self._abandoned.wait(max(0.0, seconds)):
            raise Abandoned


def transient(error: Exception) -> bool:
    """True where the same request may be answered a moment later."""
    from openai import APIConnectionError, APIStatusError

    if isinstance(error, APIStatusError):
        # Those that the client library itself would try again.
        return error.status_code in (408, 409, 429) or error.status_code >= 500
    return isinstance(error, (APIConnectionError, MalformedResponse))


def delay_of(error: Exception) -> float | None:
    """The seconds after which a busy server wants the next request; None if it does not say."""
    from openai import APIStatusError

    if not isinstance(error, APIStatusError) or error.status_code not in (429, 503):
        return None
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(error.response.headers.get(name, "")) * unit
        except ValueError:
            continue  # missing, or a date: the usual pauses do
        if 0 <= seconds < math.inf:
            return seconds
    return None
