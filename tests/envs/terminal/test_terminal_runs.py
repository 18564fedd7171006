"""Shell tasks end to end: a model behind an endpoint plays them in containers and is scored, and a
real model trains on them.
"""

from __future__ import annotations

import json
from pathlib import Path

from standin import completion, served

import harness
from envs.terminal.tasks import generated

BUDGET = ["budget.tasks=2", "budget.prompts=2", "budget.samples=2", "sampling.max_tokens=24"]
TURNS = "env.turns=2"


def _says(body: dict[str, object], instruction: str) -> bool:
    return any(instruction in m["content"] for m in body["messages"])  # type: ignore[attr-defined]


def test_a_task_that_a_model_behind_an_endpoint_solves_scores_one_and_another_nothing(
    docker_host: str, nothing_left: None, tmp_path: Path
) -> None:
    tasks = [task.draft for task in generated()["test"]]
    solved: list[str] = []
    played: list[dict[str, object]] = []

    def answer(body: dict[str, object], earlier: int) -> tuple[int, object]:
        found = {d.instruction for d in tasks if _says(body, d.instruction)}
        if not found:
            return 200, completion("hello")  # the policy tries the endpoint before the run
        [asked] = found
        played.append(body)
        if not solved:
            solved.append(asked)
        [solution] = {d.solution for d in tasks if d.instruction == asked}
        if any(m["role"] == "assistant" for m in body["messages"]):  # type: ignore[attr-defined]
            return 200, completion("Done")
        commands = solution if asked in solved else "ls -l > seen.txt"
        return 200, completion(f"Let me see.\n```sh\n{commands}\n```")

    with served(answer) as (url, _):
        summary = harness.run(
            env="terminal",
            methods=["base"],
            model=url,
            preset="laptop",
            test_tasks=2,
            samples=1,
            run_dir=tmp_path / "run",
            settings=BUDGET,
        )
    outcomes = summary.entries[0].outcomes
    assert len(played) == 4
    earned = {
        tasks[int(o.task.removeprefix("test:"))].instruction: (o.status, o.reward, o.success)
        for o in outcomes
    }
    assert earned.pop(solved[0]) == ("scored", 1.0, True)
    assert list(earned.values()) == [("scored", 0.0, False)]
    last = [body["messages"][-1]["content"] for body in played]  # type: ignore[index]
    assert sum("[no output]" in text for text in last) == 2


def test_shell_tasks_train_a_real_model(
    docker_host: str, nothing_left: None, tmp_path: Path
) -> None:
    summary = harness.run(
        env="terminal",
        methods=["espl"],
        model="pocket",
        preset="pocket",
        episodes=16,
        test_tasks=1,
        samples=1,
        run_dir=tmp_path / "run",
        settings=[*BUDGET, TURNS],
    )
    lines = (summary.folders[0] / "episodes.jsonl").read_text().splitlines()
    endings = [json.loads(line)["ending"] for line in lines]
    assert len(endings) == 16
    assert set(endings) <= {"terminated", "truncated", "overlong"}
    assert [o.status for o in summary.entries[0].outcomes] == ["truncated"]
