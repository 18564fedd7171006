"""Common package names: folders of these names change nothing, other owners are refused."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.system.import_guard import PACKAGES, PackageConflict, check_packages

HOME = Path(__file__).resolve().parents[2]


def python(folder, *words, path=HOME):
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(params=["empty", "package"])
def crowded(request, tmp_path):
    """A working directory with folders named like our packages."""
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        if request.param == "package":
            (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong one')")
    return tmp_path


SMALL = (
    *("--env", "arithmetic", "--model", "scripted:constant=Answer: 5", "--method", "evolution"),
    *("--episodes", "16", "--test-tasks", "2", "--samples", "1", "--json", "--run-dir", "out"),
)


# With -P the working directory is not on the path, as it is not for an installed script.
@pytest.mark.parametrize(
    "start", [("-m", "harness"), ("-P", "-c", "from harness.cli import main; main()")]
)
def test_folders_of_our_names_in_the_working_directory_change_nothing(crowded, start):
    done = python(crowded, *start, "run", *SMALL)
    assert done.returncode == 0, done.stderr
    assert (crowded / "out" / "entry.json").exists()


def test_modules_of_the_working_directory_are_still_found(crowded):
    assert python(crowded, "-m", "harness", "env", "new", "my_env").returncode == 0
    done = python(crowded, "-m", "harness", "env", "check", "my_env:Mine/MyEnv-v0")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def overwritten(tmp_path):
    """A folder of installed packages where another distribution came later with its `agents`."""
    site = tmp_path / "site"
    for name in ("harness", *PACKAGES):
        leave = shutil.ignore_patterns("__pycache__", "results", "golden")
        shutil.copytree(HOME / name, site / name, ignore=leave)
    (site / "agents" / "__init__.py").write_text('"""Somebody else\'s agents."""')
    facts = site / "other_agents-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: other-agents\nVersion: 1.0\n")
    (facts / "top_level.txt").write_text("agents\n")
    return site


@pytest.mark.parametrize(
    "words",
    [
        ("-c", "import harness"),
        ("-c", "from harness.cli import main; main()"),
        ("-m", "harness", "--help"),
    ],
)
def test_a_name_of_another_distribution_is_refused_in_one_sentence(overwritten, words, tmp_path):
    done = python(tmp_path, *words, path=overwritten)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("harness: The name 'agents' belongs to other-agents here")


def test_python_can_catch_the_refusal_as_an_import_error(overwritten, tmp_path):
    code = "try:\n import harness\nexcept ImportError as error:\n print(error)"
    done = python(tmp_path, "-c", code, path=overwritten)
    assert "belongs to other-agents" in done.stdout and done.stderr == ""


def test_a_package_of_that_name_earlier_on_the_path_is_refused_from_python(tmp_path, monkeypatch):
    check_packages()
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text("")
    for name in [m for m in sys.modules if m == "agents" or m.startswith("agents.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if "_Pinned" not in repr(f)])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PackageConflict, match="'agents' belongs to"):
        check_packages()
