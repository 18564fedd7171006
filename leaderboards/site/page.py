"""Templates to pages: autoescape is on for everything, and what is missing is an error."""

from dataclasses import fields
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from leaderboards.boards.formatting import count, plain
from leaderboards.records.entry import Track

HERE = Path(__file__).resolve().parent
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
"""What a page may do: nothing inline, nothing from elsewhere."""


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
    made.filters |= {"plain": safe, "count": count, "world": world}
    return made


def _made_by() -> str:
    try:
        return f"harness {version('espl-harness')}"
    except PackageNotFoundError:
        return "harness"


def render(name: str, **values: Any) -> str:
    """A page. Every value is escaped where it stands; none is ever read as a template."""
    return _environment().get_template(name).render(**values)


def safe(text: object, longest: int = 160) -> str:
    """What `plain` gives, at once where there is nothing to do: a page asks it a hundred times."""
    told = str(text)
    clean = told.isascii() and told.isprintable() and told == " ".join(told.split())
    return told if clean and len(told) <= longest else plain(told, longest)


def world(env: str) -> str:
    """A world's name as a heading shows it: without the namespace that all of ours share."""
    return safe(env.removeprefix("harness/"), 60)


@lru_cache(maxsize=4096)
def facts(told: tuple[tuple[str, str], ...]) -> Markup:
    """Rows of a table, a name and a value each; thousands of pages show the same ones."""
    return Markup(render("facts.html", facts=told))  # a template's output, escaped there


@cache
def told_track(track: Track) -> Markup:
    """Every field of a Track, by name."""
    return facts(
        tuple((f.name.replace("_", " "), str(getattr(track, f.name))) for f in fields(track))
    )
