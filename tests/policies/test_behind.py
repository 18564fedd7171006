"""Bounded staleness: what is sampled, by which weights, while which step is taken; never a clock's.

The two halves are two copies of a real model in this process; `test_remote_ray` has them on a
cluster.
"""

import json
import threading
from collections import deque

import pytest
from halves import ODD, ROUND, SETTINGS, TwoModels, evidence, write_world

from harness.cli import experiment
from harness.cli.experiment import prepare, run_one
from harness.cli.main import main
from harness.cli.resolve import Asked, resolve
from harness.durable import lines
from harness.errors import ModelError, RunError, UsageError
from harness.policies.behind import Apart, Behind, staleness_of
from harness.watch import Watcher, Watchers

ROUNDS = 6
OPEN_ENGINE = experiment.open_engine


class Breaker(Watcher):
    """Breaks the run off after so many episodes, as a kill would."""

    def __init__(self, episodes):
        self.left, self.broke = episodes, threading.Event()

    def episode(self, episode, purpose):
        self.left -= purpose == "act"
        if self.left < 0:
            self.broke.set()
            raise KeyboardInterrupt


@pytest.fixture
def play(tiny_model, tmp_path, monkeypatch):
    """Run, or go on with, a request of that staleness in a folder; returns the two models."""
    write_world(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def go(name, staleness, watcher=None, method="espl", **options):
        folder, opened = tmp_path / name, []
        sets = (*SETTINGS, "engine.samplers=1", f"engine.staleness={staleness}")
        asked = Asked(
            env=ODD,
            methods=(method,),
            model=f"hf:{tiny_model}",
            preset="laptop",
            sets=sets,
            episodes=ROUND * ROUNDS,
            test_tasks=4,
            samples=2,
            engine={"name": "ray"},
        )
        request = resolve(asked).configs[0]

        def open_engine(request):
            models = TwoModels(request.model_url, request.model, **options)
            assert isinstance(models, Apart)
            # What a held step waits for is the next round, and never the reflection of its own.
            opened.append(models)
            if not request.engine.staleness:
                return models  # as `open_remote` does
            policy = Behind(models, request.engine.staleness)
            handing = policy.update

            def update(*words):
                models.asked.clear()
                return handing(*words)

            policy.update = update
            return policy

        monkeypatch.setattr(experiment, "open_engine", open_engine)
        if not folder.exists():
            prepare(request, folder)
        entry = run_one(request, folder, Watchers([watcher] if watcher else []), lambda: False)
        return folder, entry, opened[0]

    return go


def versions(folder):
    """By which versions each round was sampled."""
    found = {}
    for _, line in lines(folder / "episodes.jsonl"):
        found.setdefault(line["round"], set()).add(line["policy_version"])
    return found


def spent(entry):
    told = {name: getattr(entry.spent, name) for name in entry.spent.__dataclass_fields__}
    told.pop("seconds")
    return told


@pytest.mark.slow
@pytest.mark.parametrize("staleness", [1, 2])
def test_a_round_is_sampled_while_the_step_before_it_is_taken(play, staleness, monkeypatch, capsys):
    until = dict.fromkeys(range(1, ROUNDS), "asked")  # the last one is waited for by the test
    folder, entry, models = play(f"by-{staleness}", staleness, until=until)
    assert versions(folder) == {i: {max(0, i - staleness)} for i in range(ROUNDS)}
    assert models.overlapped == [True] * (ROUNDS - 1), "no round began while a step was taken"
    told = [line["numbers"] for _, line in lines(folder / "rounds.jsonl")]
    assert [n["staleness"] for n in told] == [min(i, staleness) for i in range(ROUNDS)]
    assert told[0]["logprob_gap"] < 1e-5 and told[0]["ratio_max"] < 1.001
    assert all(n["logprob_gap"] > 0.01 and n["ratio_max"] > 1.01 for n in told[1:])
    # What every reply was really sampled by, and that the test saw the last weights.
    assert {v for purpose, v in models.by if purpose == "evaluate"} == {ROUNDS}
    acted = dict.fromkeys(v for purpose, v in models.by if purpose == "act")
    assert list(acted) == list(range(ROUNDS - staleness))
    assert {line["policy_version"] for _, line in lines(folder / "test.jsonl")} == {ROUNDS}
    assert entry.policy_version == entry.spent.gradient_steps == ROUNDS
    assert entry.config["staleness"] == staleness
    assert entry.config["correction"] == "token_truncate"
    assert any(f"up to {staleness} update" in note for note in entry.notes)
    # A finished run is looked into here, without the cluster that made it.
    monkeypatch.setattr(experiment, "open_engine", OPEN_ENGINE)
    capsys.readouterr()
    words = ["--split", "test", "--test-tasks", "2", "--samples", "1", "--json"]
    assert main(["eval", str(folder), *words]) == 0
    assert json.loads(capsys.readouterr().out)["policy_version"] == ROUNDS


@pytest.mark.slow
@pytest.mark.parametrize("staleness", [1, 2])
def test_broken_off_with_a_step_under_way_a_run_ends_as_if_it_had_not_been(play, staleness, capsys):
    whole, one, _ = play("whole", staleness)
    for round in (3, ROUNDS - 1):
        breaker = Breaker(ROUND * round + 7)
        until = {round: breaker.broke}  # the step of the round before
        with pytest.raises(KeyboardInterrupt):
            play(f"broken-{round}", staleness, breaker, until=until)
        broken = whole.with_name(f"broken-{round}")
        state = json.loads((broken / "checkpoint" / "state.json").read_text())
        assert state["round"] == state["spent"]["gradient_steps"] == round - 1
        assert state["spent"]["episodes"] == ROUND * (round - 1)
        assert main(["resume", str(broken), "--engine", "serial", "--quiet"]) == 2
        assert f"began with engine.staleness={staleness}" in capsys.readouterr().err
        again, other, _ = play(broken.name, staleness)
        assert evidence(again) == evidence(whole)
        assert spent(other) == spent(one)
        assert other.adapter_hash == one.adapter_hash != ""


@pytest.mark.slow
def test_a_step_that_fails_stops_the_run_which_goes_on_from_the_round_before(play):
    with pytest.raises(ModelError, match="the learner was lost"):
        play("lost", 1, breaks=3)
    folder, entry, _ = play("lost", 1)
    whole, one, _ = play("whole", 1)
    assert evidence(folder) == evidence(whole)
    assert spent(entry) == spent(one)


@pytest.mark.slow
def test_a_run_is_not_gone_on_with_at_another_staleness(play):
    whole, one, _ = play("whole", 1)
    breaker = Breaker(ROUND * 3 + 7)
    with pytest.raises(KeyboardInterrupt):
        play("edited", 1, breaker, until={3: breaker.broke})
    kept = evidence_so_far(whole.with_name("edited"))
    for other in (0, 2, 3):
        told = f"began with engine.staleness=1, and would go on with {other}; write .* = 1 into"
        with pytest.raises(RunError, match=told):
            play("edited", other)
        assert evidence_so_far(whole.with_name("edited")) == kept
    again, entry, _ = play("edited", 1)
    assert evidence(again) == evidence(whole)
    assert entry.adapter_hash == one.adapter_hash


def evidence_so_far(folder):
    """The checkpoint, byte for byte."""
    files = (p for p in sorted((folder / "checkpoint").rglob("*")) if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


@pytest.mark.slow
def test_what_was_saved_on_policy_is_not_gone_on_with_by_older_weights(play):
    with pytest.raises(KeyboardInterrupt):
        play("on-policy", 0, Breaker(ROUND * 2 + 7))
    told = r"began with engine\.staleness=0, and would go on with 2; write .* = 0 into"
    with pytest.raises(RunError, match=told):
        play("on-policy", 2)


@pytest.mark.slow
def test_a_checkpoint_that_is_damaged_says_so(tiny_model, tmp_path):
    from harness.policies.settings import ModelSettings

    settings = ModelSettings(device="cpu", threads=1, lora_rank=4, lora_alpha=8)
    models = TwoModels(f"hf:{tiny_model}", settings)
    models.save(tmp_path)
    (tmp_path / "behind.json").write_text('{"staleness": 2, "rounds": [], "older": []}')
    policy = Behind(models, 2)
    for read in (policy.load, staleness_of):
        with pytest.raises(ModelError, match="resume from an earlier one"):
            read(tmp_path)
    policy.close()


@pytest.mark.slow
def test_weights_that_stay_are_soon_the_newest(tiny_model):
    from harness.policies.base import Request, Sample, Sampling, Step
    from harness.policies.settings import ModelSettings
    from harness.types import Message

    settings = ModelSettings(device="cpu", threads=1, lora_rank=4, lora_alpha=8)
    models = TwoModels(f"hf:{tiny_model}", settings)
    policy = Behind(models, 2)
    served = []
    for index in range(8):
        policy.begin_round(index)
        asked = deque([Request("r", (Message("user", "say"),), Sampling(1.0, 1.0, 4), index)])
        (_, reply), *_ = policy.generate(asked)
        served.append((policy.serving, models.sampler.version))
        if index < 3:
            tokens = reply.tokens
            sample = Sample(tokens.prompt, tokens.sampled, tokens.logprobs, 1.0)
            policy.update([sample], lambda b, size: -(b.new * b.mask).sum(), Step(0.01))
    assert served == [(v, v) for v in (0, 0, 0, 1, 2, 3, 3, 3)]
    policy.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("engine.staleness=1",), "there are none; add --set engine.samplers"),
        (("engine.learner=actor",), "there are none; add --set engine.samplers"),
        (("engine.samplers=1", "engine.learner_gpus=1"), "add --set engine.learner=actor"),
        (("engine.world_seats=4",), "there are none; add --set engine.worlds"),
        (("engine.worlds=1", "engine.world_resources=near"), "takes NAME=AMOUNT"),
        (("engine.samplers=1", "engine.staleness=17"), "at most 16"),
        (
            ("engine.samplers=1", "engine.staleness=1", "method.correction=bypass"),
            "needs an importance correction",
        ),
        (("engine.samplers=1", "engine.staleness=1", "sampling.top_p=0.9"), "sampling.top_p=1"),
    ],
)
def test_staleness_that_nothing_corrects_and_actors_of_nothing_are_refused(tiny_model, words, said):
    asked = Asked(env="arithmetic", methods=("espl",), model=f"hf:{tiny_model}", preset="laptop")
    options = {"sets": words, "engine": {"name": "ray"}}
    with pytest.raises(UsageError, match=said):
        resolve(Asked(**{**{f: getattr(asked, f) for f in asked.__dataclass_fields__}, **options}))


def test_methods_without_weights_or_with_a_mask_alone_have_no_use_for_it(tiny_model):
    def ask(methods, *sets):
        return resolve(
            Asked(
                env="arithmetic",
                methods=methods,
                model=f"hf:{tiny_model}",
                preset="laptop",
                sets=("engine.samplers=1", "engine.staleness=1", *sets),
                engine={"name": "ray"},
            )
        )

    with pytest.raises(UsageError, match="evolution trains none"):
        ask(("evolution",))
    with pytest.raises(UsageError, match=r"p2o has method\.correction=hard_clip"):
        ask(("p2o",))
    found = ask(("base", "rl"))
    assert found.configs[1].method_table["correction"] == "token_truncate"
    assert "correction" not in found.configs[0].method_table
    assert any("older weights" in note for note in found.notes)
    off = resolve(
        Asked(env="arithmetic", methods=("rl",), model=f"hf:{tiny_model}", preset="laptop")
    )
    assert off.configs[0].method_table["correction"] == "bypass"
