"""Strict reading: JSON text to frozen dataclasses, or one sentence saying which field is wrong.

A dataclass's own annotations are its schema. Nothing is coerced (but 1 is a float where a float is
asked for), nothing is filled in, nothing unknown is passed over, and no input, however hostile,
raises anything but RecordError.
"""

import dataclasses
import functools
import json
import math
import types
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Literal, NoReturn, TypeAlias, TypeVar, Union, get_args, get_origin

JSON: TypeAlias = bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"] | None
Reader: TypeAlias = Callable[[object], Any]
T = TypeVar("T")

OMITTED_AT = "omitted_at"
"""Metadata key of a dataclass field: the value at which it is left out, see added_settings.py."""

_PLAIN = frozenset((str, int, float, bool, type(None)))
_NAMES = {str: "a string", bool: "true or false", int: "a whole number", float: "a finite number"}


class RecordError(ValueError):
    """A record that is not what the schema says; the message names the file and the field."""

    def __init__(self, problem: str, field: str = "", source: str = "") -> None:
        self.problem = problem
        self.field = field
        self.source = source
        place = f"field '{field}' " if field else ""
        super().__init__(f"{source}: {place}{problem}." if source else f"{place}{problem}.")

    def within(self, field: str) -> "RecordError":
        """The same error, seen from the record or list that holds the field."""
        join = "" if not self.field or self.field.startswith("[") else "."
        return RecordError(self.problem, f"{field}{join}{self.field}", self.source)

    def named(self, source: str) -> "RecordError":
        """The same error, with the name of the file it was read from."""
        return RecordError(self.problem, self.field, source)


def parse(text: str | bytes, source: str) -> object:
    """JSON, with duplicate keys and NaN or infinite numbers refused."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except RecordError as error:
        raise error.named(source) from None
    except RecursionError:
        raise RecordError("is nested too deeply for a record", source=source) from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise RecordError(f"is not JSON ({error.msg}, {where})", source=source) from None
    except ValueError as error:  # not UTF-8, or an integer of thousands of digits
        raise RecordError(f"is not JSON ({error})", source=source) from None


def decode(kind: type[T], value: object) -> T:
    """Read `value`, as json.loads gave it, as the dataclass `kind`.

    Raises:
        RecordError: naming the field, its path included (`outcomes[3].reward`).
    """
    try:
        schema: Any = kind
        done: T = _record(schema)(value)
    except RecursionError:
        raise RecordError("is nested too deeply for a record") from None
    return done


def encode(value: Any) -> Any:
    """The plain JSON value of a dataclass, field by field, in the order of its definition.

    A field that was added later is left out at its old value.
    """
    if type(value) in _PLAIN:
        return value
    if dataclasses.is_dataclass(value):
        shown = {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
        kind: Any = type(value)
        for name, old in added_fields(kind).items():
            # The type too: 1, 1.0 and True are equal in Python and differ in JSON.
            if type(shown[name]) is type(old) and shown[name] == old:
                del shown[name]
        return shown
    if isinstance(value, Mapping):
        return {k: encode(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(v) for v in value]
    return value


@functools.cache
def added_fields(kind: Any) -> Mapping[str, JSON]:
    """The fields of a dataclass that older files lack, with the value that their absence means."""
    every = dataclasses.fields(kind)
    return {f.name: f.metadata[OMITTED_AT] for f in every if OMITTED_AT in f.metadata}


def canonical(value: JSON) -> str:
    """One text per value: sorted keys, no spaces, ASCII; what identities are hashed from."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RecordError(f"holds what JSON cannot ({error})") from None


def preview(value: object) -> str:
    """A value as an error message may quote it: short, and with no control characters."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]  # add() returns None
        raise RecordError(f"holds the key {preview(twice)} twice in one object")
    return made


def _constant(name: str) -> NoReturn:
    raise RecordError(f"holds the number {name}, but every number must be finite")


def _reader(hint: Any) -> Reader:
    """A reader of values of an annotation."""
    if hint == JSON:
        return _json
    if hint in _NAMES:
        return functools.partial(_scalar, hint)
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return functools.partial(_one_of, args)
    if origin in (Union, types.UnionType) and args[-1] is type(None):
        inner = _reader(args[0]) if len(args) == 2 else _one_or_row(*args[:-1])
        return functools.partial(_optional, inner)
    if origin is tuple:
        item: Any = args[0]
        quick = _quick(item) if dataclasses.is_dataclass(item) else None
        return functools.partial(_row, _reader(item), item if quick else None, quick)
    if origin is Mapping:
        return functools.partial(_mapping, _reader(args[1]))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        shape: Any = hint
        return _record(shape)
    raise TypeError(f"records cannot hold {hint}")


@functools.cache
def _record(kind: Any) -> Reader:
    parts = {f.name: _reader(f.type) for f in dataclasses.fields(kind)}
    later = added_fields(kind)

    def read(value: object) -> Any:
        if type(value) is not dict:
            raise RecordError(f"must be an object, but is {preview(value)}")
        if later:
            value = {**later, **value}
        if value.keys() != parts.keys():
            _misfit(value.keys(), parts.keys())
        made = {}
        for name, part in parts.items():
            try:
                made[name] = part(value[name])
            except RecordError as error:
                raise error.within(name) from None
        return kind(**made)

    return read


def _quick(kind: Any) -> Callable[[list[Any]], list[tuple[Any, ...]] | None] | None:
    """A reader of a list of records at once, a field of all of them at a time: thousands make an
    entry. None for records that hold more than plain values.

    It gives None for a list in which any value is wrong, or needs to be changed, so that every
    problem is found and reported by the readers of the fields.
    """
    hints = {f.name: f.type for f in dataclasses.fields(kind)}
    allowed = [_plain_types(hint) for hint in hints.values()]
    if len(hints) < 2 or not all(allowed):
        return None
    values_of = itemgetter(*hints)
    chosen = [frozenset(get_args(h)) if get_origin(h) is Literal else None for h in hints.values()]

    def read(given: list[Any]) -> list[tuple[Any, ...]] | None:
        if set(map(type, given)) != {dict} or set(map(len, given)) != {len(hints)}:
            return None
        try:
            rows: list[tuple[Any, ...]] = list(map(values_of, given))
        except KeyError:
            return None
        for column, types_, choices in zip(zip(*rows, strict=True), allowed, chosen, strict=True):
            kinds = set(map(type, column))
            if not kinds <= types_ or (choices is not None and not choices.issuperset(column)):
                return None
            # 1e999 is read as infinity, and parse_constant is not asked about it.
            if float in kinds and not all(math.isfinite(v) for v in column if type(v) is float):
                return None
        return rows

    return read


def _plain_types(hint: Any) -> frozenset[type]:
    """The types of values that an annotation takes as they are; empty where no plain one is."""
    origin, args = get_origin(hint), get_args(hint)
    if hint in _NAMES:
        return frozenset((hint,))
    if origin is Literal:
        return frozenset((str,))
    if origin in (Union, types.UnionType) and args[-1] is type(None):
        # Of `str | tuple[str, ...] | None` a list stays with the readers of the fields.
        inner = _plain_types(args[0])
        return inner | {type(None)} if inner else inner
    return frozenset()


def _misfit(given: Any, wanted: Any) -> NoReturn:
    unknown = sorted(given - wanted)
    if unknown:
        raise RecordError(f"is unknown; known are {', '.join(wanted)}", preview(unknown[0])[1:-1])
    missing = next(name for name in wanted if name not in given)
    raise RecordError("is missing", missing)


def _scalar(kind: type, value: object) -> Any:
    # From 2**53 on a float cannot hold every whole number, so the value could change.
    if kind is float and type(value) is int and abs(value) < 2**53:
        return float(value)
    # Not isinstance, because a bool is an int too.
    if type(value) is not kind or (kind is float and not math.isfinite(value)):  # type: ignore[arg-type]  # a float here
        raise RecordError(f"must be {_NAMES[kind]}, but is {preview(value)}")
    return value


def _one_of(choices: tuple[str, ...], value: object) -> Any:
    if type(value) is not str or value not in choices:
        listed = " or ".join(f"'{c}'" for c in choices)
        raise RecordError(f"must be {listed}, but is {preview(value)}")
    return value


def _optional(inner: Reader, value: object) -> Any:
    return None if value is None else inner(value)


def _one_or_row(one: Any, row: Any) -> Reader:
    """A reader of `T | tuple[T, ...]`."""
    if get_origin(row) is not tuple or get_args(row)[0] is not one:
        raise TypeError(f"records cannot hold {one} | {row}")
    single, several = _reader(one), _reader(row)
    return lambda value: several(value) if type(value) is list else single(value)


def _row(inner: Reader, kind: Any, quick: Any, value: object) -> tuple[Any, ...]:
    if type(value) is not list:
        raise RecordError(f"must be a list, but is {preview(value)}")
    made: list[Any] = []
    try:
        if quick is not None and (rows := quick(value)) is not None:
            for values in rows:
                made.append(kind(*values))
            return tuple(made)
        for item in value:
            made.append(inner(item))
    except RecordError as error:
        raise error.within(f"[{len(made)}]") from None
    return tuple(made)


def _mapping(inner: Reader, value: object) -> dict[str, Any]:
    if type(value) is not dict:
        raise RecordError(f"must be an object, but is {preview(value)}")
    made = {}
    for key, item in value.items():
        try:
            made[key] = inner(item)
        except RecordError as error:
            raise error.within(preview(key)[1:-1]) from None
    return made


def _json(value: object) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise RecordError(f"must be a finite number, but is {value}")
    if isinstance(value, dict):
        return _mapping(_json, value)
    if isinstance(value, list):
        return list(_row(_json, None, None, value))
    return value
