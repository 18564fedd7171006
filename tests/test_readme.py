"""The README: its commands parse, its example runs, its tables agree with published entries."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from harness.cli.parser import parse
from leaderboards.boards.formatting import signed
from leaderboards.boards.rank import boards, paired
from leaderboards.records.store import find_entries
from leaderboards.stats.paired import holm
from leaderboards.stats.scores import result

HOME = Path(__file__).resolve().parent.parent
README = (HOME / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def test_the_environment_in_twenty_lines_runs(tmp_path):
    code = next(block for block in blocks("python") if "my_envs.py" in block)
    (tmp_path / "my_envs.py").write_text(code)
    words = [
        *("run", "--env", "my_envs:Mine/Reverse-v0", "--method", "base", "--json"),
        *("--model", "scripted:constant=tekram", "--run-dir", "out"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", "from harness.cli import main; raise SystemExit(main())", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "HOME": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runs"][0]["score"] == 0.5


def test_every_harness_command_shown_is_understood():
    lines = [line.split("#  ")[0] for block in blocks("bash") for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("harness ")]
    assert len(commands) >= 10
    for command in commands:
        words = shlex.split(re.sub(r"\s+# .*", "", command))[1:]
        invocation = parse(words)
        module = f"harness.cli.commands.{invocation.module}"
        assert importlib.util.find_spec(module) is not None, command


def test_the_tree_names_folders_that_exist():
    tree = next(block for block in blocks("text") if "harness/        " in block)
    for line in tree.splitlines():
        name = line.strip().split("/")[0]
        assert (HOME / name).is_dir() or (HOME / "harness" / name).is_dir(), name


def published():
    found = find_entries([HOME / "leaderboards" / "results"]).entries
    return [e for e in found if e.track.env == "harness/CalibrationBoth-v1"]


def test_the_published_table_agrees_with_the_published_entries():
    scores: dict[str, list[float]] = {}
    for entry in published():
        longer = entry.track.budget_episodes > 1600
        name = entry.method + " at 4 × the budget" * longer
        scores.setdefault(name, []).append(100 * (result(entry).score or 0.0))
    table = re.findall(r"^\| ([a-z0-9 ×B]+) \| (\d+) \| ([\d.]+) \|", README, re.M)
    assert {name: (int(n), float(score)) for name, n, score in table} == {
        name: (len(of), round(sum(of) / len(of), 1)) for name, of in scores.items() if len(of) == 20
    }


def test_the_table_of_nine_methods_agrees_with_the_entries_of_their_common_seeds():
    alike = boards([e for e in published() if e.seed in range(1000, 1010)])
    (board,) = [one for one in alike if one.track.budget_episodes == 1600]
    rl = next(row for row in board.rows if row.method == "rl")
    found = [paired(row, rl) for row in board.rows if row is not rl]
    pairs = [one for one in found if one is not None]
    adjusted = holm([one.p for one in pairs])
    at_episodes = {one.label: replace(one, holm=p) for one, p in zip(pairs, adjusted, strict=True)}
    at_tokens = {one.label: one for one in board.at_tokens}

    def cells(one):
        if one is None:  # rl itself, and base at equal tokens
            return "–", ""
        low, high = one.interval.low, one.interval.high
        ends = f"{signed(one.value, True)} [{signed(low, True)}, {signed(high, True)}]"
        return ends, f"{one.holm:.3f}"

    shown = []
    for row in board.rows:
        assert row.seeds == tuple(range(1000, 1010))
        assert row.score is not None
        label = f"{row.method} − rl"
        differences = (*cells(at_episodes.get(label)), *cells(at_tokens.get(label)))
        shown.append((row.method, f"{100 * row.score:.1f}", *differences))
    lines = re.findall(r"^\| ([a-z0-9]+) \| ([\d.]+) \| ([+−–].*) \|$", README, re.M)
    table = [
        (name, score, *(cell.strip() for cell in rest.split("|"))) for name, score, rest in lines
    ]
    assert table == shown
    assert len(shown) == 9


def test_nothing_in_the_readme_waits_to_be_filled_in():
    assert "@@" not in README
