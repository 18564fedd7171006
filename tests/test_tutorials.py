"""The tutorials work as written: every block is executed, in order, in an empty folder."""

import os
import re
import stat
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TUTORIALS = ("your_environment.md", "your_method.md", "your_model.md")


def blocks(name: str) -> list[tuple[str, str]]:
    return BLOCK.findall((DOCS / name).read_text(encoding="utf-8"))


def script(name: str) -> str:
    """One shell script: commands as they stand, files written where the reader would write them."""
    lines = ["set -euo pipefail"]
    for language, text in blocks(name):
        named = re.match(r"# file: (\S+)\n", text)
        if language == "bash":
            lines.append(text)
        elif named:
            lines.append(f"cat > {named[1]} <<'END_OF_FILE'\n{text}END_OF_FILE\n")
    return "\n".join(lines)


def commands(folder: Path) -> None:
    """`harness` and `python` as an installed environment has them."""
    main = '-c "from harness.cli import main; raise SystemExit(main())"'
    for name, words in (("harness", main), ("python", "")):
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", TUTORIALS)
def test_every_step_of_the_tutorial_works(name, tmp_path):
    (tmp_path / "bin").mkdir()
    commands(tmp_path / "bin")
    (tmp_path / "here").mkdir()
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script(name)],
        cwd=tmp_path / "here",
        env={**os.environ, "PATH": path, "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert "✗" not in done.stdout


@pytest.mark.parametrize("name", TUTORIALS)
def test_every_block_is_executed_or_written_to_a_file(name):
    for language, text in blocks(name):
        assert language == "bash" or text.startswith("# file: "), text


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("your_environment.md", "espl_harness.envs"),
        ("your_method.md", "espl_harness.methods"),
        ("your_model.md", "espl_harness.policies"),
    ],
)
def test_the_package_announces_what_the_tutorial_wrote(name, group):
    from agents.registry import GROUP as METHODS
    from envs.resolution import GROUP as ENVS
    from harness.policies.registry import GROUP as MODELS

    assert group in (METHODS, ENVS, MODELS)
    text = next(text for language, text in blocks(name) if language == "toml")
    points = tomllib.loads(text)["project"]["entry-points"][group]
    for point, value in points.items():
        entry = EntryPoint(point, value, group)
        assert re.search(rf"\b{entry.module}(\.py)?\b", (DOCS / name).read_text(encoding="utf-8"))
