"""Checks of the values of record fields; each problem is a RecordError that names the field."""

from datetime import datetime, timedelta

from leaderboards.records.strict_json import RecordError, preview

LARGEST = 1e15  # of any quantity, so that sums and squares stay finite


def require(holds: bool, name: str, problem: str) -> None:
    """Raise RecordError for the field `name` unless the condition holds."""
    if not holds:
        raise RecordError(problem, name)


def coerce_floats(record: object, *names: str) -> None:
    """Replace whole numbers by floats, so that equal records have one text and one id."""
    for name in names:
        value = getattr(record, name)
        if value is not None and type(value) is not float:
            object.__setattr__(record, name, float(value))  # the records are frozen


def require_range(record: object, least: float, *names: str) -> None:
    """Raise RecordError unless the named fields lie within [least, LARGEST]; NaN does not."""
    for name in names:
        value = getattr(record, name)
        if not least <= value <= LARGEST:
            raise RecordError(f"must be {least} to {LARGEST:.0e}, but is {preview(value)}", name)


def require_utc(text: str, name: str) -> None:
    """Raise RecordError unless the text is a time in UTC, ISO 8601."""
    try:
        offset = datetime.fromisoformat(text).utcoffset()
    except ValueError:
        offset = None
    problem = f"must be a UTC time like 2026-01-31T12:00:00Z, but is {preview(text)}"
    require(offset == timedelta(0), name, problem)
