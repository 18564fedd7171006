"""Templates of environments, methods and models, written into files of the user's own."""

import importlib.util
import keyword
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from harness.errors import UsageError

_STARTERS = "harness.runs.starters"


@dataclass(frozen=True, slots=True)
class Template:
    """A module with its test, the word in both that the name replaces, and what to type next."""

    word: str
    next_steps: str


_KINDS = {
    "env": Template(
        "letters",
        "check it:  harness env check {name}:Mine/{title}-v0\n"
        "test it:   python -m pytest {test}\n"
        "train:     harness run --env {name}:Mine/{title}-v0 --model smollm2 --method base,espl",
    ),
    "method": Template(
        "duel",
        "check it:  harness method check {name}:SPEC\n"
        "test it:   python -m pytest {test}\n"
        "train:     harness run --method base,{name}:SPEC",
    ),
    "model": Template(
        "babble",
        "check it:  harness model check {name}:BACKEND\n"
        "test it:   python -m pytest {test}\n"
        "train:     harness run --env arithmetic --model {name}:BACKEND --method base,rl",
    ),
}


def check_name(name: str) -> None:
    """Raise UsageError if no module of the user's own can have this name."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise UsageError(
            f"'{name}' cannot be the name of a file that is imported; use small letters, digits and"
            " _, as in my_env."
        )
    # Found without importing it: a module may do anything when it is imported.
    if importlib.util.find_spec(name) is not None:
        raise UsageError(
            f"There is a module '{name}' already, which would be imported instead; choose another"
            " name, as in my_env."
        )


def title(name: str) -> str:
    """The name of a class: my_env becomes MyEnv."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def next_steps(kind: str, name: str, test: Path) -> str:
    """Commands that check, test and use what was written."""
    steps = _KINDS[kind].next_steps
    return steps.format(name=name, title=title(name), test=test.name)


def write(kind: str, name: str, folder: Path) -> tuple[Path, Path]:
    """The module and its test in the folder; raises UsageError where one of them is there."""
    word = _KINDS[kind].word
    paths = folder / f"{name}.py", folder / f"test_{name}.py"
    for path in paths:
        if path.exists():
            raise UsageError(f"{path} exists and is not overwritten; choose another name or --dir.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, source in zip(paths, (f"{word}.py", f"{word}_test.py"), strict=True):
            text = (files(_STARTERS) / source).read_text(encoding="utf-8")
            path.write_text(renamed(text, word, name), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder} cannot be written ({error.strerror}); choose --dir.") from error
    return paths


def renamed(text: str, word: str, name: str) -> str:
    """The starter's text with its module, its names and its class called after `name`."""
    text = text.replace(f"{_STARTERS}.{word}", name)
    text = text.replace(f"test_{word}.py", f"test_{name}.py").replace(f'"{word}"', f'"{name}"')
    text = text.replace(f'"{word}:', f'"{name}:').replace(f'f"{word} ', f'f"{name} ')
    return re.sub(rf"\b{word.title()}(?=\b|Config\b)", title(name), text)
