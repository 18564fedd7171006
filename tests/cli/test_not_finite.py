"""Steps after which something is NaN or infinite: the checkpoint before stays, and goes on."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from agents.rl import RL
from harness.callbacks import Callbacks
from harness.cli.main import main
from harness.errors import ModelError, NotFinite
from harness.evaluate import Interrupted
from harness.policies.hf.lora import LoraAdapter
from harness.policies.hf.trainer import Trainer
from harness.runs.build import run_one
from harness.runs.request import read_request
from harness.storage.checkpoint import read_checkpoint

RUN = ["run", "--env", "calibration/both", "--model", "pocket", "--method", "rl"]
RUN += ["--preset", "pocket", "--episodes", "36", "--test-tasks", "4", "--samples", "1"]
RUN += ["--set", "budget.tasks=3", "--set", "budget.prompts=1", "--set", "budget.samples=4"]
RUN += ["--set", "model.threads=1", "--quiet", "--json"]


def resumed(rate):
    """The exit code of going on with another learning rate."""
    return main(["resume", "run", "--quiet", "--json", "--change", f"method.learning_rate={rate}"])


def refused(capsys, *words):
    assert main(["resume", "run", "--quiet", *words]) == 4
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("harness: In iteration ") and "\n" not in said
    return said


@pytest.fixture
def first(tmp_path, monkeypatch, capsys):
    """A run whose first step at a rate of 1e30 was refused."""
    monkeypatch.chdir(tmp_path)
    rate = ["--set", "method.learning_rate=1e30"]
    assert main([*RUN, *rate, "--run-dir", "run"]) == 4
    return capsys.readouterr().err


@pytest.mark.slow
def test_a_rate_that_breaks_the_weights_leaves_a_run_that_goes_on_with_a_lower_one(first, capsys):
    assert "In iteration 1 the adapter (" in first and "nothing was saved" in first
    assert "harness resume run --change method.learning_rate=4e-05" in first
    assert not Path("run/checkpoint").exists()
    assert resumed(0.01) == 0
    assert main([*RUN, "--set", "method.learning_rate=0.01", "--run-dir", "whole"]) == 0
    for name in ("episodes.jsonl", "test.jsonl", "checkpoint/policy/adapter.safetensors"):
        assert Path("run", name).read_bytes() == Path("whole", name).read_bytes()


class StopAfter(Callbacks):
    """Stops a run after its first iteration."""

    stopped = False

    def round(self, *given):
        self.stopped = True


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run, and a copy of it that was stopped after one iteration."""
    home = tmp_path_factory.mktemp("made")
    whole, run = home / "whole", home / "run"
    assert main([*RUN, "--set", "method.learning_rate=0.01", "--run-dir", str(whole)]) == 0
    run.mkdir()
    shutil.copy(whole / "config.toml", run)
    seen = StopAfter([])
    with pytest.raises(Interrupted):
        run_one(read_request(run), run, Callbacks([seen]), lambda: seen.stopped)
    assert read_checkpoint(run).state.round == 1
    return home


@pytest.fixture
def second(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return Path("run")


@pytest.mark.slow
def test_the_checkpoint_before_stays(second, capsys):
    before = {p: p.read_bytes() for p in second.glob("checkpoint/**/*") if p.is_file()}
    said = refused(capsys, "--change", "method.learning_rate=1e30")
    assert "In iteration 2 " in said and "iteration 1 stays the checkpoint" in said
    assert {p: p.read_bytes() for p in second.glob("checkpoint/**/*") if p.is_file()} == before
    assert resumed(0.01) == 0
    for name in ("episodes.jsonl", "test.jsonl", "checkpoint/policy/adapter.safetensors"):
        assert Path("run", name).read_bytes() == Path("whole", name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "value", "named"),
    [
        ("loss", math.nan, "the loss of the update (nan)"),
        ("loss", math.inf, "the loss of the update (inf)"),
        ("optimizer", math.nan, "the optimizer's state ("),
        ("adapter", math.inf, "the adapter ("),
        ("forward", 1e17, "the output of "),
    ],
)
def test_each_part_of_a_step_is_proved_finite(second, monkeypatch, capsys, part, value, named):
    accumulate, step = Trainer._accumulate, Trainer.step

    def broken_loss(self, batch, checkpointing, size, loss, step, totals):
        accumulate(self, batch, checkpointing, size, loss, step, totals)
        totals.loss = value

    def broken_after(self, *given):
        metrics = step(self, *given)
        adapter: LoraAdapter = self._adapter
        parameter = next(p for n, p in adapter.parameters.items() if "lora_B" in n)
        if part == "optimizer":
            adapter.optimizer.state[parameter]["exp_avg"].view(-1)[0] = value
        elif part == "adapter":
            parameter.data.view(-1)[0] = value
        else:  # finite weights, whose product is too large for the squares of a norm
            for p in adapter.parameters.values():
                p.data.fill_(value / p.numel() ** 0.5)
        return metrics

    if part == "loss":
        monkeypatch.setattr(Trainer, "_accumulate", broken_loss)
    else:
        monkeypatch.setattr(Trainer, "step", broken_after)
    assert named in refused(capsys)
    assert read_checkpoint(second).state.round == 1


@pytest.mark.slow
def test_metrics_and_state_of_a_method_are_proved_finite(second, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(RL, "state", lambda self: {"mu": math.nan})
        assert "a number in the method's state" in refused(capsys)
    learn = RL.learn

    def broken(self, *given):
        report = learn(self, *given)
        return replace(report, metrics={**report.metrics, "grad_norm": math.inf})

    monkeypatch.setattr(RL, "learn", broken)
    assert "the gradient norm (inf)" in refused(capsys)


def test_the_error_without_a_run_says_what_to_do():
    assert issubclass(NotFinite, ModelError)
    assert str(NotFinite("the adapter")) == (
        "The adapter is not a finite number: lower the learning rate, or load the model with dtype "
        "float32."
    )


def test_the_golden_run_is_resumed_through_the_proof(tmp_path, monkeypatch, capsys):
    golden = Path(__file__).parents[1] / "golden" / "v1" / "pocket-broken"
    shutil.copytree(golden, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert main(["resume", "run", "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["gradient_steps"] > 0
