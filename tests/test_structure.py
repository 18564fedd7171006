"""The house rules a machine can check: who imports whom, how large things grow, what is light."""

import ast
import re
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
EVERYTHING = ("harness/cli", "harness/runs")
"""The folders that may import every package."""
MOST_MODULES = 20
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


def modules() -> dict[str, Path]:
    """Every module of the packages by its dotted name."""
    names = {}
    for path in sources(*ROOMS):
        dotted = ".".join(path.relative_to(HOME).with_suffix("").parts)
        names[dotted.removesuffix(".__init__")] = path
    return names


def graph() -> dict[str, set[str]]:
    """Which module imports which; imports for type checking and inside functions count."""
    known = modules()
    edges: dict[str, set[str]] = {}
    for name, path in known.items():
        targets = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    targets.add(inner if inner in known else node.module)
        edges[name] = {t for t in targets if t in known and t != name}
    return edges


def test_parts_import_no_method():
    edges = graph()
    methods = {name for name in edges if name.count(".") == 1 and name.startswith("agents.")}
    methods -= {"agents.context", "agents.registry", "agents.validation", "agents.parts"}
    assert {"agents.espl", "agents.evolution", "agents.rl"} <= methods
    for name, targets in edges.items():
        if name.startswith("agents.parts"):
            assert not targets & (methods | {"agents", "agents.registry"}), name


def circle(edges: dict[str, set[str]]) -> list[str]:
    """The modules of one import circle, or none."""
    left = {name: set(targets) for name, targets in edges.items()}
    while leaves := [name for name, targets in left.items() if not targets]:
        for name in leaves:
            del left[name]
        for targets in left.values():
            targets -= set(leaves)
    trail: list[str] = []
    here = min(left, default="")
    while here and here not in trail:
        trail.append(here)
        here = min(left[here])
    return trail[trail.index(here) :] if here else []


def test_no_module_imports_itself_by_way_of_others():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c"]
    assert circle({"a": {"b"}, "b": set()}) == []
    assert circle(graph()) == []


@pytest.mark.parametrize("path", sources(*ROOMS), ids=lambda p: str(p.relative_to(HOME)))
def test_imports_point_one_way(path):
    room = path.relative_to(HOME).parts[0]
    under = [folder for folder in EVERYTHING if path.is_relative_to(HOME / folder)]
    names = set(imported(ast.parse(path.read_text())))
    tops = {name.split(".")[0] for name in names}
    assert tops & set(ROOMS) <= (set(ROOMS) if under else MAY_IMPORT[room])
    if not under and path != HOME / "harness/__init__.py" and path != HOME / "harness/__main__.py":
        assert not {n for n in names if n.startswith(("harness.cli", "harness.runs"))}
    if under == ["harness/runs"]:  # the library does not know its command line
        assert not {n for n in names if n.startswith("harness.cli")}


FLOORS = ("records", "stats", "boards", "site")
"""The folders of `leaderboards`, lowest first; each imports only itself and those below."""


def test_leaderboards_imports_only_lower_floors():
    for path in sources("leaderboards"):
        own = path.relative_to(HOME / "leaderboards").parts[0]
        if own == "__init__.py":
            continue
        allowed = FLOORS[: FLOORS.index(own) + 1]
        names = {
            n.split(".")[1]
            for n in imported(ast.parse(path.read_text()))
            if n.startswith("leaderboards.")
        }
        assert names <= set(allowed), f"{path.name} of {own} imports {names - set(allowed)}"
    folders = {p.name for p in (HOME / "leaderboards").iterdir() if (p / "__init__.py").exists()}
    assert folders == set(FLOORS)


def test_no_folder_holds_more_modules_than_one_looks_over():
    folders = {path.parent for path in sources(*ROOMS)}
    crowded = {f: n for f in folders if (n := len(list(f.glob("*.py")))) > MOST_MODULES}
    assert not crowded


def test_a_public_class_name_means_one_thing():
    seen: dict[str, list[str]] = {}
    for name, path in modules().items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                seen.setdefault(node.name, []).append(name)
    assert {name: where for name, where in seen.items() if len(where) > 1} == {}


OTHER_LIBRARIES = {
    "harness/policies/chat": {"eos_token_id"},
    "harness/policies/hf": {"max_position_embeddings", "gnu_get_libc_version"},
    "harness/policies/hf/fast_llama": {"quantization_config", "layer_types", "q_norm"},
    "harness/policies/memory_check.py": {"sysconf"},
    "harness/policies/tinker": {
        *("trainable", "max_context_length", "result", "future", "status_code", "RestClient"),
    },
    "harness/policies/vllm": {
        *("max_model_len", "parent", "prompt_token_ids", "token_ids", "choices"),
    },
    "harness/system": {"filename", "sched_getaffinity"},
}
"""Optional attributes of other libraries' objects that are read by name."""


@pytest.mark.parametrize("path", sources("harness", "agents"), ids=lambda p: str(p.name))
def test_optional_abilities_are_declared_as_protocols(path):
    allowed = {
        name
        for folder, names in OTHER_LIBRARIES.items()
        if path.is_relative_to(HOME / folder)
        for name in names
    }
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id in ("getattr", "hasattr") and len(node.args) > 1:
            name = node.args[1]
            assert not isinstance(name, ast.Constant) or name.value in allowed, name.value


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


def test_commands_print_with_the_console_that_cleans_foreign_text():
    for path in sources("harness"):
        if path.name == "safe_console.py":
            continue
        made = re.search(r"(?<![\w.])Console\(|file=sys\.stdout\)\.print", path.read_text())
        assert made is None, f"{path}: make a SafeConsole instead"


def test_train_is_one_short_loop():
    tree = ast.parse((HOME / "harness/train.py").read_text())
    train = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "train")
    assert train.end_lineno is not None and train.end_lineno - train.lineno + 1 <= 10


@pytest.mark.parametrize(
    "statement",
    [
        "import harness, envs, agents, leaderboards",
        "from harness.cli.parser import parse; parse(['--help'])",
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
    assert done.stdout.splitlines()[-1] == "[]"


def test_no_package_folder_under_tests_shadows_a_room():
    assert not list((HOME / "tests").rglob("__init__.py"))
