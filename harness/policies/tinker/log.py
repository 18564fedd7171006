"""The SDK's warnings on standard error, in one line each and without the key."""

from __future__ import annotations

import logging
import sys

from typing_extensions import override

from harness.display.safe_console import without_controls
from harness.system.secrets import redact

# Said of every reply that takes longer than one poll, and of what no run depends on.
_ROUTINE = ("Retrying request", "Dropping telemetry")


class SDKLogHandler(logging.Handler):
    """Passes the SDK's warnings on to standard error."""

    def __init__(self, secret: str) -> None:
        super().__init__(logging.WARNING)
        self.secrets = {secret}
        self.last = ""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if line.startswith(_ROUTINE):
            return
        self.last = " ".join(redact(line, self.secrets).split())[:300]
        print(f"tinker: {without_controls(self.last)}", file=sys.stderr)


def listen(secret: str) -> SDKLogHandler:
    """The one listener; every key there was is kept out of what it passes on."""
    logger = logging.getLogger("tinker")
    for handler in logger.handlers:
        if isinstance(handler, SDKLogHandler):
            handler.secrets.add(secret)
            return handler
    listener = SDKLogHandler(secret)
    logger.addHandler(listener)
    # Handlers further up would print the line once more, and not redacted.
    logger.propagate = False
    return listener
