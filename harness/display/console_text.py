"""Text for the terminal: without control characters, small curves, streams that may close."""

from typing import IO, Any, cast

from rich.console import Console

_SPARKS = "▁▂▃▄▅▆▇█"


def plain(text: str, limit: int = 400) -> str:
    """Text without control characters, on one line, at most `limit` characters long."""
    # Escape characters are not printable, so no text can steer the terminal.
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def sparkline(values: list[float]) -> str:
    """The curve of a few dozen numbers in one line of text."""
    values = [v for v in values if v == v]  # a round in which nothing was scored has no mean
    low, high = min(values, default=0.0), max(values, default=0.0)
    span = (high - low) or 1.0
    return "".join(_SPARKS[int((v - low) / span * (len(_SPARKS) - 1))] for v in values)


def duration(seconds: float) -> str:
    """Seconds as hours, minutes and seconds."""
    whole = int(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


class _PipeSafe:
    """A stream whose reader may close it: what is written after that is dropped.

    The stream and not the printing is guarded because rich, when a pipe breaks, would turn standard
    output into a void and then raise SystemExit, whichever of its threads was drawing.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._closed = False

    def write(self, text: str) -> int:
        self._unless_closed(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._unless_closed(self._stream.flush)

    def _unless_closed(self, act: Any, *words: str) -> None:
        try:
            if not self._closed:
                act(*words)
        except (OSError, ValueError):  # broken pipe, or closed here
            self._closed = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def pipe_safe(console: Console) -> Console:
    """The same console; writing to it never raises, even where its reader has gone."""
    if not isinstance(console.file, _PipeSafe):
        console.file = cast(IO[str], _PipeSafe(console.file))
    return console
