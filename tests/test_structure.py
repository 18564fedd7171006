"""The house rules a machine can check: who imports whom, how large things grow, what is light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parent.parent
ROOMS = ("harness", "envs", "agents", "leaderboards")
MAY_IMPORT = {
    "envs": {"envs"},
    "leaderboards": {"leaderboards"},
    "agents": {"agents", "harness"},
    "harness": {"harness"},
}
HEAVY = (
    "torch",
    "transformers",
    "peft",
    "vllm",
    "docker",
    "datasets",
    "math_verify",
    "openai",
    "tinker",
    "bm25s",
    "ray",
)


def sources(*folders: str) -> list[Path]:
    return [p for folder in folders for p in sorted((HOME / folder).rglob("*.py"))]


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", sources(*ROOMS), ids=lambda p: str(p.relative_to(HOME)))
def test_imports_point_one_way(path):
    room = path.relative_to(HOME).parts[0]
    whole = ("harness/cli", "harness/runs")
    inner = any(path.is_relative_to(HOME / folder) for folder in whole)
    allowed = set(ROOMS) if inner else MAY_IMPORT[room]
    tops = {name.split(".")[0] for name in imported(ast.parse(path.read_text()))}
    assert tops & set(ROOMS) <= allowed
    if room == "agents":
        inner = {n for n in imported(ast.parse(path.read_text())) if n.startswith("harness.cli")}
        assert not inner


@pytest.mark.parametrize("path", sources(*ROOMS, "tests"), ids=lambda p: str(p.relative_to(HOME)))
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 350
    if path.is_relative_to(HOME / "tests"):
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 50, f"{node.name} has {length} lines"


def test_train_is_one_short_loop():
    tree = ast.parse((HOME / "harness/train.py").read_text())
    train = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "train")
    assert train.end_lineno - train.lineno + 1 <= 10


@pytest.mark.parametrize(
    "statement",
    [
        "import harness, envs, agents, leaderboards",
        "from harness.cli.parser import build_parser; build_parser().format_help()",
        "import harness.cli.commands.leaderboard",
        "import harness.cli.commands.catalog",
        "import harness.cli.commands.analysis.compare",
    ],
)
def test_what_needs_no_model_starts_without_the_heavy_libraries(statement):
    code = f"{statement}\nimport sys\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"


def test_no_package_folder_under_tests_shadows_a_room():
    assert not list((HOME / "tests").rglob("__init__.py"))


def test_a_room_owned_by_another_distribution_is_refused(tmp_path, monkeypatch):
    from harness.errors import HarnessError
    from harness.system.import_guard import check_rooms

    check_rooms()
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text("")
    for name in [m for m in sys.modules if m == "agents" or m.startswith("agents.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(HarnessError, match="'agents' belongs to"):
        check_rooms()
