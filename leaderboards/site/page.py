"""Pages from templates: autoescape is on everywhere, and a missing value is an error."""

from collections.abc import Sequence
from dataclasses import fields
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from leaderboards.boards.formatting import count, env_title, plain
from leaderboards.boards.model import Board
from leaderboards.records.entry import Track

HERE = Path(__file__).resolve().parent
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
"""Content security policy: nothing inline, nothing from another host."""


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"policy": POLICY, "made_by": _made_by()}
    made.filters |= {
        "plain": safe,
        "count": count,
        "env": env_name,
        "env_title": board_title,
        "track_title": track_title,
    }
    return made


def _made_by() -> str:
    try:
        return f"harness {version('espl-harness')}"
    except PackageNotFoundError:
        return "harness"


def render(name: str, **values: Any) -> str:
    """A page. Every value is escaped where it is inserted; none is ever read as a template."""
    return _environment().get_template(name).render(**values)


def safe(text: object, longest: int = 160) -> str:
    """The same as `plain`, with a shortcut for clean text: a page calls it a hundred times."""
    given = str(text)
    clean = given.isascii() and given.isprintable() and given == " ".join(given.split())
    return given if clean and len(given) <= longest else plain(given, longest)


def env_name(env: str) -> str:
    """An environment's name for a heading, without the namespace of this package."""
    return safe(env.removeprefix("harness/"), 60)


def board_title(board: Board) -> str:
    """A leaderboard's environment for a heading, with its options and its explanation."""
    return track_title(board.track, board.options)


def track_title(track: Track, options: Sequence[str] = ()) -> str:
    """The environment of a Track for a heading, without the namespace of this package."""
    return env_title(track, options).removeprefix("harness/")


@lru_cache(maxsize=4096)
def facts(pairs: tuple[tuple[str, str], ...]) -> Markup:
    """Table rows of a name and a value each; cached, because thousands of pages share them."""
    return Markup(render("facts.html", facts=pairs))  # a template's output, escaped there


@cache
def track_table(track: Track) -> Markup:
    """Every field of a Track, by name."""
    return facts(
        tuple((f.name.replace("_", " "), str(getattr(track, f.name))) for f in fields(track))
    )
