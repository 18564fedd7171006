"""A reply that keeps the grader from an end is wrong, and the entry says so.

The judge is the real pool of workers; its job never ends, or its worker dies by itself.
"""

import json
from pathlib import Path

import pytest

from envs.grading import pool
from envs.verdict import HUNG
from envs.workers.json_worker import WorkerFailed
from harness.cli.main import main
from leaderboards.boards.rank import boards
from leaderboards.records.store import read_entry

TASKS = [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(1, 31)]


@pytest.fixture
def asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("q.jsonl").write_text("".join(json.dumps(task) + "\n" for task in TASKS))
    words = ["run", "--env", "jsonl:q.jsonl", "--set", "env.grader=math", "--method", "base"]
    words += ["--model", "scripted:constant=\\boxed{\\sqrt{2}}", "--preset", "laptop"]
    return [*words, "--test-tasks", "2", "--samples", "1", "--quiet", "--json", "--run-dir", "run"]


def outcomes():
    entry = read_entry(Path("run/entry.json"))
    return entry, [(o.status, o.reward, o.success) for o in entry.outcomes]


def test_outcomes_that_hang_the_grader_are_wrong_and_counted(asked, monkeypatch):
    def endless(self, box, answer, deadline=None):
        return self._judged("", answer, 0.2, spin=True)

    monkeypatch.setattr(pool.Grader, "compare", endless)
    monkeypatch.setattr("harness.runs.build.check_graders", lambda env: None)
    assert main(asked) == 0
    entry, found = outcomes()
    assert found == [("scored", 0.0, False)] * 2
    assert entry.hung_graders == 2
    logged = [json.loads(line) for line in Path("run/test.jsonl").read_text().splitlines()]
    assert [line["feedback"] for line in logged] == [HUNG] * 2
    (row,) = boards([entry])[0].rows
    assert any("grading them did not end" in warning for warning in row.warnings)


def test_outcomes_of_a_grader_that_breaks_by_itself_stay_unscored(asked, monkeypatch):
    def broken(self, job, wall, cpu_seconds):
        raise WorkerFailed("the grading worker was killed by signal 9", -9)

    monkeypatch.setattr("envs.workers.pool.WorkerPool.ask", broken)
    monkeypatch.setattr("harness.runs.build.check_graders", lambda env: None)
    assert main(asked) == 0
    entry, found = outcomes()
    assert found == [("unscored", None, None)] * 2
    assert entry.hung_graders == 0
