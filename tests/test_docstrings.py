"""Rules for docstrings: each public one begins with what the thing is or does."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parent.parent
PACKAGES = ("harness", "envs", "agents", "leaderboards")
QUESTIONS = {
    *("what", "who", "whom", "whose", "whether", "how"),
    *("where", "which", "when", "why"),
}
"""Words that begin a question about the thing; a noun or a verb names it at once."""

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def literal(node: ast.stmt) -> str:
    """The text of a statement that is nothing but a string; "" for any other."""
    value = node.value if isinstance(node, ast.Expr) else None
    return str(value.value) if isinstance(value, ast.Constant) else ""


def docstrings(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Names and docstrings: of the module, public classes, functions, methods and attributes."""
    waiting: list[tuple[str, Documented]] = [("module", tree)]
    while waiting:
        name, node = waiting.pop()
        if text := ast.get_docstring(node):
            yield name, text
        for before, one in zip([None, *node.body], node.body, strict=False):
            if isinstance(one, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                if not one.name.startswith("_"):
                    waiting.append((one.name, one))
            elif isinstance(before, ast.Assign | ast.AnnAssign) and (text := literal(one)):
                yield f"line {one.lineno}", text


def questions(source: str) -> list[str]:
    """Names whose docstrings begin with a question word."""
    found = []
    for name, text in docstrings(ast.parse(source)):
        first = re.search(r"\w+", text)
        if first and first.group().lower() in QUESTIONS:
            found.append(name)
    return found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('"""What it does."""', ["module"]),
        ('"""`Which` one."""', ["module"]),
        ('def f():\n    """How it works."""', ["f"]),
        ('class C:\n    def m(self):\n        """Whether it holds."""', ["m"]),
        ('SIZE = 1\n"""How large it is."""', ["line 2"]),
        ('class C:\n    size: int\n    """How large it is."""', ["line 3"]),
        ('"""Rules of a game."""\ndef _f():\n    """How it works."""', []),
    ],
)
def test_the_rule_finds_question_words(source, found):
    assert questions(source) == found


@pytest.mark.parametrize(
    "path",
    [p for package in PACKAGES for p in sorted((HOME / package).rglob("*.py"))],
    ids=lambda p: str(p.relative_to(HOME)),
)
def test_docstrings_begin_with_a_noun_or_a_verb(path):
    assert questions(path.read_text(encoding="utf-8")) == []
