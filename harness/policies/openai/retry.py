"""How an endpoint is borne with: a request's own retries, everybody's rate limit, and an outage.

Three things are told apart, because they end differently. A server that says when it may be asked
again is left alone by everybody until then. A request that fails again and again while the server
answers others has failed for good: its episode is unscored. A server that answers nobody is waited
for, and then stops the run, so that no outage is ever mistaken for outcomes.
"""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from harness.errors import ModelError

T = TypeVar("T")
_FIRST, _LONGEST = 0.5, 30.0  # seconds between two tries, doubling


class Abandoned(Exception):
    """Nobody waits for the answer any more."""


class RetryPolicy:
    """What all requests to one server share; every method may be called from any thread.

    `transient` says whether an error may pass, `delay` how many seconds the server asked for with
    it (None: it did not say), `probe` asks the server the simplest of questions.
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
        self._over = threading.Event()
        self._probing, self._holding = threading.Lock(), threading.Lock()
        self._held = 0.0  # nobody asks before this moment
        self._answered = self._back = float("-inf")  # the last answer, the end of the last outage
        self._gone: ModelError | None = None

    def abandon(self) -> None:
        """Wake everybody who waits, to be told that nobody wants their answer."""
        self._over.set()

    def persist(self, ask: Callable[[], T], key: int, outlast: bool = True) -> T:
        """Ask until there is an answer, or the error is this request's own; `key` spreads retries.

        Without `outlast`, whatever the retries do not mend is raised as it is.

        Raises:
            ModelError: The server has answered nobody for as long as it is waited for.
        """
        tries, began = 0, time.monotonic()
        while True:
            asked = self._let_be()
            try:
                answer = ask()
            except ModelError:
                raise  # a server that cannot be used at all
            except Exception as error:
                wanted = self._delay(error)
                if wanted is not None and asked - began + wanted < self._seconds:
                    self._hold(wanted)
                    continue  # it is busy, and says so: no failure of anybody
                tries += 1
                if self._transient(error) and tries <= self._retries:
                    self._wait(min(_LONGEST, _FIRST * 2 ** (tries - 1)) * (1 + key % 97 / 97) / 2)
                elif outlast and self._outlasted(error, asked):
                    tries, began = 0, time.monotonic()
                else:
                    raise
            else:
                self._answered = time.monotonic()
                return answer

    def _outlasted(self, error: Exception, asked: float) -> bool:
        """Whether the server was away and is back; False where it answers, but not this request."""
        with self._probing:  # one finds out, the others are told
            if self._back > asked:
                return True
            if self._gone is not None:
                raise self._gone
            if self._answered > asked or self._alive():
                return False
            pause, until = _FIRST, time.monotonic() + self._seconds
            while time.monotonic() < until:
                self._wait(min(pause, until - time.monotonic()))
                pause = min(_LONGEST, 2 * pause)
                if self._alive():
                    self._back = time.monotonic()
                    return True
            self._gone = ModelError(
                f"The endpoint has answered nobody for {self._seconds:g} s ({error}). What was "
                "finished is kept: when it is back, go on with harness resume."
            )
            raise self._gone

    def _alive(self) -> bool:
        self._let_be()  # the simplest of questions is one too
        try:
            self._probe()
        except Exception as error:
            self._hold(self._delay(error) or 0.0)
            return False
        return True

    def _let_be(self) -> float:
        """Wait until the server may be asked; returns that moment."""
        while (now := time.monotonic()) < self._held:  # it may be put off while one waits
            self._wait(self._held - now)
        return now

    def _hold(self, seconds: float) -> None:
        with self._holding:
            self._held = max(self._held, time.monotonic() + min(seconds, self._seconds))

    def _wait(self, seconds: float) -> None:
        if self._over.wait(max(0.0, seconds)):
            raise Abandoned
