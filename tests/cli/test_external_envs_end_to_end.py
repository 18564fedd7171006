"""Worlds that need something installed, or a server: each is played behind an endpoint, and those
of other interpreters train a real model.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from outside import (
    inspect_python,
    inspect_task,
    openenv_server,
    sums,
    taskset,
    tasksets_python,
    verifiers_python,
)
from standin import completion, served

import harness

SEARCH = '<tool_call>{"name": "search", "arguments": {"query_list": ["Orrel"]}}</tool_call>'
DOUBLE = '<tool_call>{"name": "double", "arguments": {"n": 4}}</tool_call>'
BUDGET = ["budget.tasks=2", "budget.prompts=2", "budget.samples=2", "sampling.max_tokens=24"]
# What a world needs, its name, its options and what is said.
WORLDS = {
    "search": ("", "search", [], [SEARCH, "Answer: Place 3"]),
    "reasoning_gym": ("reasoning-gym", "reasoning_gym/chain_sum", [], ["Answer: 4"]),
    "textarena": ("textarena", "textarena/GuessTheNumber", [], ["[5]", "[7]"]),
    "textworld": ("textworld", "textworld/easy", ["world.max_steps=2"], ["Command: look"]),
    "minigrid": (
        "minigrid",
        "minigrid:MiniGrid-Empty-5x5-v0",
        ["world.wrapper=minigrid.wrappers:FullyObsWrapper", "world.max_steps=3"],
        ["Action: forward"],
    ),
    "verifiers": ("", "", ["world.kind=tool"], ["Let me see.", "4"]),
    "verifiers-turns": ("", "", ["world.kind=again", "world.max_turns=2"], ["4", "5"]),
    "taskset": ("", "", [], ["4"]),
    "inspect": ("", "", ["world.kind=twice"], ["4", "5"]),
    "inspect-tools": ("", "", ["world.kind=tool"], [DOUBLE, "8"]),
    "openenv": ("", "", [], ["5", "7"]),
}


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A world's name and options, with whatever it needs started; else the test is left out."""
    key = request.param
    needs, name, options, _ = WORLDS[key]
    if needs and importlib.util.find_spec(needs.replace("-", "_")) is None:
        pytest.skip(f"not run: {needs} is not installed")
    if key == "openenv":
        with openenv_server(tmp_path, sessions=1) as served_name:
            yield served_name, options
        return
    if key == "search":
        options = [*options, *_searched(tmp_path)]
    if key == "taskset":
        options = [*options, f"world.python={tasksets_python()}", "world.at_once=1"]
        name = taskset(tmp_path)
    if key.startswith("inspect"):
        options = [*options, f"world.python={inspect_python()}", "world.at_once=1"]
        name = inspect_task(tmp_path)
    if key.startswith("verifiers"):
        options = [*options, f"world.python={verifiers_python()}", "world.at_once=1"]
        name = sums(tmp_path)
    yield name, options


def _searched(folder: Path) -> list[str]:
    """Options of a question set and a corpus of one's own."""
    asked = [
        {"id": f"q{n}", "question": f"Where is {n}?", "answers": [f"Place {n}"]} for n in range(30)
    ]
    known = [{"id": f"p{n}", "title": f"{n}", "text": f"{n} is in Place {n}."} for n in range(30)]
    for name, rows in (("questions", asked), ("corpus", known)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [f"world.{name}={folder / name}.jsonl" for name in ("questions", "corpus")]
    return [*files, "world.results=1", "world.passage_characters=120"]


def _run(place: tuple[str, list[str]], out: Path, **more: object) -> Path:
    name, options = place
    summary = harness.run(
        env=name,
        test_tasks=2,
        samples=1,
        run_dir=out,
        settings=[*options, *BUDGET],
        **more,
    )
    statuses = [o.status for o in summary.entries[0].outcomes]
    assert len(statuses) == 2 and set(statuses) <= {"scored", "truncated"}
    return summary.folders[0]


@pytest.mark.parametrize(
    ("place", "key"), [(key, key) for key in WORLDS], indirect=["place"], ids=list(WORLDS)
)
def test_an_endpoint_model_is_evaluated_on_the_environment(
    place: tuple[str, list[str]], key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = WORLDS[key][3]

    def answer(body: dict[str, object], earlier: int) -> tuple[int, object]:
        turn = sum(m["role"] == "assistant" for m in body["messages"])  # type: ignore[attr-defined]
        return 200, completion(said[turn % len(said)])

    with served(answer) as (url, seen):
        _run(place, tmp_path / "run", methods=["base"], model=url, preset="laptop")
    assert len(seen) >= 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "place", ["verifiers-turns", "taskset", "inspect-tools", "openenv"], indirect=True
)
def test_a_real_model_trains_on_it(place: tuple[str, list[str]], tmp_path: Path) -> None:
    folder = _run(
        place, tmp_path / "run", methods=["espl"], model="pocket", preset="pocket", episodes=16
    )
    lines = (folder / "episodes.jsonl").read_text().splitlines()
    endings = [json.loads(line)["ending"] for line in lines]
    assert len(endings) == 16
    assert set(endings) <= {"terminated", "truncated", "overlong"}
