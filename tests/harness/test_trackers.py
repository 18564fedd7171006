"""Trackers hear what the run's records hold, and can neither stop nor change it."""

import importlib.util
import json
import math
import sys
from types import SimpleNamespace

import pytest

from harness.budget import Usage
from harness.display.trackers import TRACKERS, Tracker, check_trackers, open_tracker
from harness.errors import UsageError
from harness.types import Report


def needs(package):
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"not run: {package} is not installed")


class Kept(Tracker):
    """A tracker that keeps what it is told, or fails from a step on."""

    name = "kept"

    def __init__(self, note, fails=math.inf):
        super().__init__(note)
        self.told, self.fails, self.ended = [], fails, False

    def log(self, step, numbers):
        if step >= self.fails:
            raise RuntimeError("no network")
        self.told.append((step, dict(numbers)))

    def finish(self):
        self.ended = True


def tell(tracker, index, **numbers):
    rollouts = SimpleNamespace(round=SimpleNamespace(index=index), mean=lambda: 0.5)
    tracker.round(rollouts, Report(numbers), Usage(episodes=8 * (index + 1)))


def test_a_round_is_told_as_its_reward_its_numbers_and_what_was_spent():
    tracker = Kept(lambda line: None)
    tell(tracker, 0, loss=0.25)
    ((step, numbers),) = tracker.told
    assert step == 1
    assert (numbers["reward"], numbers["loss"], numbers["spent/episodes"]) == (0.5, 0.25, 8)


def test_what_was_not_measured_is_left_out():
    tracker = Kept(lambda line: None)
    tell(tracker, 0, loss=math.nan, ratio=math.inf)
    tracker.score(None, 1)
    assert not {"loss", "ratio", "test/score"} & set(tracker.told[0][1])
    assert len(tracker.told) == 1


def test_a_tracker_that_fails_says_so_once_and_falls_silent():
    notes: list[str] = []
    tracker = Kept(notes.append, fails=2)
    for index in range(4):
        tell(tracker, index)
    tracker.score(1.0, 4)
    tracker.close()
    assert [step for step, _ in tracker.told] == [1] and tracker.ended
    assert notes == ["kept failed (RuntimeError: no network); the run goes on without it"]


def test_an_unknown_tracker_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match=r"no tracker 'tensorbord'. Did you mean 'tensorboard'"):
        check_trackers(["tensorbord"])


@pytest.mark.parametrize("name", sorted(TRACKERS))
def test_a_tracker_that_is_not_installed_names_what_to_install(name, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "tensorboard.summary", None)
    with pytest.raises(UsageError, match=rf"pip install '\.\[{name}\]'"):
        open_tracker(name, tmp_path, "a run", {}, print)


def scalars(folder):
    """What TensorBoard reads back: (step, value) by name."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util.tensor_util import make_ndarray

    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.glob("events.*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                number = float(make_ndarray(value.tensor).item())
                found.setdefault(value.tag, []).append((event.step, number))
    return found


@needs("tensorboard")
@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_back_every_round_and_the_score(tmp_path):
    tracker = open_tracker("tensorboard", tmp_path, "a run", {}, print)
    tell(tracker, 0, loss=0.25)
    tell(tracker, 1, loss=0.125)
    tracker.score(0.75, 2)
    tracker.close()
    found = scalars(tmp_path / "tensorboard")
    assert found["loss"] == [(1, 0.25), (2, 0.125)]
    assert found["spent/episodes"] == [(1, 8.0), (2, 16.0)]
    assert found["test/score"] == [(2, 0.75)]


@needs("tensorboard")
@pytest.mark.filterwarnings("ignore")
def test_a_run_that_goes_on_is_told_from_its_log_without_the_unfinished_round(tmp_path):
    rounds = [
        {"round": n, "reward": None if n == 1 else 0.5, "numbers": {}, "spent": {"episodes": 8}}
        for n in range(3)
    ]
    (tmp_path / "rounds.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rounds))
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "state.json").write_text('{"round": 2}')
    for _ in range(2):
        tracker = open_tracker("tensorboard", tmp_path, "a run", {}, print)
        tracker.close()
    found = scalars(tmp_path / "tensorboard")
    assert found["reward"] == [(1, 0.5)]
    assert found["spent/episodes"] == [(1, 8.0), (2, 8.0)]


@needs("wandb")
@pytest.mark.filterwarnings("ignore")
def test_weights_and_biases_writes_a_run_that_can_be_synced_later(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    notes: list[str] = []
    filed = {"project": "mine", "group": "first", "tags": "small, fast"}
    tracker = open_tracker("wandb", tmp_path, "a run", {"tracking": filed}, notes.append)
    tell(tracker, 0, loss=0.25)
    tracker.table("prompts", ("id", "mu"), [("abc", 25.0), ("def", None)])
    run = tracker._tracker.run  # type: ignore[attr-defined]
    assert (run.project, run.group, run.tags) == ("mine", "first", ("small", "fast"))
    tracker.close()
    assert notes == []
    assert list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))


@needs("trackio")
@pytest.mark.filterwarnings("ignore")
def test_trackio_keeps_a_run_on_this_machine_and_standard_output_clean(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "kept"))
    notes: list[str] = []
    tracker = open_tracker("trackio", tmp_path, "a run", {"a": 1}, notes.append)
    tell(tracker, 0, loss=0.25)
    tracker.close()
    assert notes == []
    assert list((tmp_path / "kept").rglob("*.db"))
    assert capsys.readouterr().out == ""


@needs("mlflow")
@pytest.mark.filterwarnings("ignore")
def test_mlflow_gets_every_iteration_of_a_resumed_run(tmp_path, monkeypatch, capsys):
    import mlflow

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    rounds = [
        {"round": n, "reward": 0.5, "numbers": {}, "spent": {"episodes": 8}} for n in range(2)
    ]
    (tmp_path / "rounds.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rounds))
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "state.json").write_text('{"round": 2}')
    notes: list[str] = []
    tracker = open_tracker("mlflow", tmp_path, "a run", {"env": {"name": "x"}}, notes.append)
    tell(tracker, 2, loss=0.25)
    tracker.close()
    assert notes == [] and (tmp_path / "mlflow.db").exists()
    found = mlflow.MlflowClient().search_runs(["1"])
    assert [run.data.params for run in found] == [{"env.name": "x"}]
    history = mlflow.MlflowClient().get_metric_history(found[0].info.run_id, "reward")
    assert [(m.step, m.value) for m in history] == [(1, 0.5), (2, 0.5), (3, 0.5)]
    assert capsys.readouterr().out == ""


@needs("swanlab")
@pytest.mark.filterwarnings("ignore")
def test_swanlab_writes_a_run_that_can_be_synced_later(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("SWANLAB_MODE", raising=False)
    notes: list[str] = []
    tracker = open_tracker("swanlab", tmp_path, "a run", {"a": 1}, notes.append)
    tell(tracker, 0, loss=0.25)
    tracker.close()
    assert notes == [] and any((tmp_path / "swanlab").rglob("*"))
    assert capsys.readouterr().out == ""


def test_monitors_spread_and_learning_rate_stand_beside_the_reward(tmp_path, monkeypatch):
    from harness.cli.main import main
    from harness.display import trackers

    kept: list[Kept] = []

    class Opened(Kept):
        def log_table(self, name, columns, rows):
            self.told.append((name, [dict(zip(columns, row, strict=True)) for row in rows]))

    def opened(name, folder, title, settings, note):
        kept.append(Opened(note))
        kept[-1].constants = trackers._constants({"method": {"learning_rate": 4e-5}})
        assert settings["tracking"] == {"group": "mine", "project": "espl-harness", "tags": ""}
        return kept[-1]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("harness.runs.finish.open_tracker", opened)
    monkeypatch.setattr("harness.runs.executors.check_trackers", lambda names: None)
    monkeypatch.setattr("harness.cli.commands.run.check_trackers", lambda names: None)
    words = ["--env", "arithmetic", "--model", "scripted:constant=Answer: 5", "--quiet"]
    small = ["--method", "evolution", "--episodes", "16", "--test-tasks", "2", "--samples", "1"]
    track = ["--tracker", "wandb", "--set", "tracking.group=mine", "--run-dir", "out"]
    assert main(["run", *words, *small, *track]) == 0
    (tracker,) = kept
    (step, numbers), (_, score), (_, prompts), (_, rollouts) = tracker.told
    assert step == 1 and numbers["learning_rate"] == 4e-5 and "test/score" in score
    assert numbers["reward_spread"] >= 0 and numbers["monitors/no answer"] == 0
    assert numbers["monitors/mode collapse"] > 0
    assert prompts[0]["origin"] == "initial" and prompts[0]["mu"] is not None
    assert rollouts[0]["completion"] == "Answer: 5" and rollouts[0]["iteration"] == 1
    # What a resumed run logs again from its own records is the same.
    again = Kept(lambda line: None)
    again.constants = tracker.constants
    again.replay(tmp_path / "out")
    assert again.told == [(step, numbers)]


def test_a_table_that_a_tracker_refuses_is_said_and_ends_no_run():
    notes: list[str] = []

    class Refusing(Kept):
        def log_table(self, name, columns, rows):
            raise ValueError("no tables")

    tracker = Refusing(notes.append)
    tracker.table("prompts", ("id",), [("abc",)])
    tracker.table("rollouts", ("id",), [])
    tracker.close()
    assert len(notes) == 1 and "no tables" in notes[0] and tracker.ended
