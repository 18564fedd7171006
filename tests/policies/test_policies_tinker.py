"""Two releases of Tinker's SDK against a stand-in that computes for real; see tests/plugins.

The installed release is taken as it is, the other one (or both) as a stub of its shape.
"""

import json
import time
from collections import deque
from dataclasses import replace

import pytest
import torch
from collecting import QUIET, collected  # noqa: F401
from tinker_cases import ask, built, either_server, opened, play, prepared  # noqa: F401

from harness.errors import ModelError, UsageError
from harness.policies.base import (
    BatchSize,
    Step,
    TrainablePolicy,
)
from harness.types import Finish, Message

pytestmark = QUIET


def stale(samples):
    """As if sampled by other weights, so that ratios are not 1 and some are clipped."""
    generator = torch.Generator().manual_seed(1)
    return [
        replace(
            s,
            logprobs=tuple(p + float(torch.randn((), generator=generator)) / 2 for p in s.logprobs),
        )
        for s in samples
    ]


def test_tokens_and_logprobs_come_back_and_equal_seeds_agree_here(server):
    policy = opened()
    ends = set(policy.rendering.ends)
    assert isinstance(policy, TrainablePolicy)
    assert policy.context == 512
    first, again = play(policy), play(policy)
    assert first == again == play(policy.reference)
    assert all(len(s.sampled) == len(s.logprobs) > 0 for s in first)
    asked = [b for p, b in server.calls if p.endswith("asample")]
    sent = next(b for b in asked if b["sampling_params"]["max_tokens"] > 1)
    assert {(2**40 + i) % 2**31 for i in range(6)} <= {b["sampling_params"]["seed"] for b in asked}
    assert set(sent["sampling_params"]["stop"]) == ends


def test_a_reply_is_as_likely_as_the_same_model_loaded_here_says(server, tiny_policy):
    from harness.policies.hf.trainer import logprobs

    samples = play(opened())
    with torch.no_grad():
        for sample in samples:
            ours = logprobs(tiny_policy._padded_forward, [sample])[0]
            assert ours.tolist() == pytest.approx(list(sample.logprobs), abs=1e-4)


def test_a_reply_that_does_not_fit_the_context_is_cut_off_and_not_asked_for(server):
    policy = prepared(server)
    long = replace(ask(0), conversation=(Message("user", "x" * 600),))
    ((_, reply),) = policy.generate(deque([long]))
    assert (reply.finish, reply.sampled) == (Finish.LENGTH, 0)
    assert server.count("/api/v1/asample") == 0


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("importance_sampling", {}),
        ("ppo", {}),
        ("ppo", {"clip_low": 0.9, "clip_high": 1.05}),
        ("cispo", {}),
        ("cispo", {"clip": "verl"}),
        ("grpo", {}),
        ("dr_grpo", {}),
        ("dapo", {}),
    ],
)
def test_the_hosted_loss_is_the_same_number_as_ours(server, tiny_policy, name, more):
    policy, loss = opened(), built(name, **more)
    samples = stale(play(policy))
    there = policy.update(samples, loss, Step(learning_rate=0.0))
    here = tiny_policy.update(samples, loss, Step(learning_rate=0.0))
    assert server.shape == ("0.25" if policy._scale.factor(7, 3) == 21 else "0.38")
    assert there["loss"] == pytest.approx(here["loss"], rel=1e-4, abs=1e-6)
    assert there["hosted_loss"] == pytest.approx(here["loss"], rel=1e-4, abs=1e-6)
    for number in ("logprob_gap", "ratio_max", "sequences", "tokens"):
        assert there[number] == pytest.approx(here[number], rel=1e-4)


def test_a_step_moves_the_sampler_towards_what_was_good_and_not_the_reference(server):
    policy = prepared(server)
    before = play(policy)
    policy.update(before, built("importance_sampling"), Step(learning_rate=1e-2))
    assert (policy.version, policy.reference.version) == (1, 0)
    assert play(policy.reference) == before
    after = policy.update(before, built("importance_sampling"), Step(learning_rate=0.0))
    assert after["logprob_gap"] > 0.01
    assert after["loss"] < 0  # Σ r·A over sequences whose advantages add up to 0: it has learnt
    adam = next(b["adam_params"] for p, b in server.calls if p.endswith("optim_step"))
    assert adam == {
        "learning_rate": 1e-2,
        "beta1": 0.9,
        "beta2": 0.95,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "grad_clip_norm": 1.0,
    }


@pytest.mark.parametrize("form", ["k1", "k2", "k3"])
def test_a_kl_term_pulls_as_it_does_here(server, tiny_model, tmp_path, form):
    """Two equal models a step away from the start take the same step under a KL term."""
    policy, plain, step = opened(), built("importance_sampling"), Step(learning_rate=1e-2)
    samples = play(policy)
    policy.update(samples, plain, step)
    policy.save(tmp_path / "kept")
    here, adapted = opened(), server.lab.models[policy._trainer.model_id]
    here.load(tmp_path / "kept")
    fresh = play(policy)
    anchored = built("ppo", kl=0.5, kl_form=form)
    still = Step(learning_rate=0.0, reference=True, max_grad_norm=1e9)
    there = policy.update(fresh, anchored, still)
    ours = local_gradient(adapted, fresh, anchored)
    assert there["loss"] == pytest.approx(ours[0], rel=1e-4, abs=1e-6)
    assert there["grad_norm"] == pytest.approx(ours[1], rel=1e-3)
    without = policy.update(fresh, built("ppo"), still)
    assert abs(without["grad_norm"] - there["grad_norm"]) > 1e-3 * there["grad_norm"]


def local_gradient(adapted, samples, loss):
    """Loss and gradient norm of the server's own model, by our loss."""
    from harness.policies.base import TokenBatch

    def told(sample):
        ids = torch.tensor([[*sample.prompt, *sample.sampled]])
        logits = adapted.model(input_ids=ids).logits[0, len(sample.prompt) - 1 : -1]
        picked = torch.log_softmax(logits, -1).gather(1, ids[0, len(sample.prompt) :, None])
        return picked[:, 0]

    size = BatchSize(len(samples), sum(len(s.sampled) for s in samples))
    adapted.optimizer.zero_grad()
    total = torch.zeros(())
    for sample in samples:
        with torch.no_grad(), adapted.model.disable_adapter():
            reference = told(sample)
        batch = TokenBatch(
            told(sample)[None],
            torch.tensor([sample.logprobs]),
            reference[None],
            torch.tensor([[sample.advantage]]),
            torch.ones(1, len(sample.sampled)),
        )
        total = total + loss(batch, size)
    total.backward()
    norm = torch.nn.utils.clip_grad_norm_(adapted.trained(), 1e9)
    adapted.optimizer.zero_grad(set_to_none=True)
    return float(total.detach()), float(norm)


def test_a_saved_state_is_taken_up_with_its_optimizer_and_old_ones_are_deleted(server, tmp_path):
    policy, loss, step = opened(), built("importance_sampling"), Step(learning_rate=1e-2)
    samples = play(policy)
    for _ in range(3):
        policy.update(samples, loss, step)
        policy.save(tmp_path / "kept")
    policy.save(tmp_path / "kept")  # nothing new: no second state
    kept = [b["path"] for p, b in server.calls if p == "/api/v1/save_weights"]
    assert kept == ["harness-trial", *(f"harness-v00000{i}" for i in (1, 2, 3))]
    assert [path.rpartition("/")[2] for path in server.lab.states] == [
        "harness-v000002",
        "harness-v000003",
    ]
    other = opened()
    other.load(tmp_path / "kept")
    assert other.version == 3
    assert play(other) == play(policy)
    assert other.update(samples, loss, step) == policy.update(samples, loss, step)
    assert play(other) == play(policy)


def test_a_checkpoint_of_another_adapter_or_a_state_that_is_gone_is_refused(server, tmp_path):
    policy = opened()
    policy.update(play(policy), built("ppo"), Step())
    policy.save(tmp_path)
    with pytest.raises(ModelError, match="another lora_rank"):
        opened(lora_rank=8).load(tmp_path)
    server.lab.states.clear()
    with pytest.raises(ModelError, match="does not give the trained state back"):
        opened().load(tmp_path)
    (tmp_path / "policy.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        opened().load(tmp_path)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_and_nothing_is_sampled_twice(server, status):
    policy = prepared(server)
    server.fault = lambda path, earlier: (
        (status, "busy") if path.endswith("asample") and earlier < 2 else None
    )
    assert len(dict(policy.generate(deque([ask(i) for i in range(4)])))) == 4
    assert policy.failures == {}
    assert len({b["seq_id"] for p, b in server.calls if p.endswith("asample")}) == 4


def test_a_request_that_takes_too_long_or_fails_is_recorded_and_others_go_on(server):
    policy = opened(timeout=2.0, concurrency=1)
    real = server.lab.sample

    def slow(session, body):
        tokens = [t for c in body["prompt"]["chunks"] for t in c["tokens"]]
        if len(tokens) > 60:
            time.sleep(2.5)
        if len(tokens) > 100:
            raise RuntimeError("out of memory")
        return real(session, body)

    server.lab.sample = slow
    long = replace(ask(9), id="slow", conversation=(Message("user", "y" * 50),))
    broken = replace(ask(9), id="broken", conversation=(Message("user", "y" * 100),))
    found = dict(policy.generate(deque([ask(0), long, ask(1)])))
    assert sorted(found) == ["r0", "r1"]
    assert policy.failures == {"slow": "Timeout: no reply within 2 s"}
    time.sleep(1.0)
    policy = opened(timeout=20.0)
    assert list(policy.generate(deque([broken]))) == []
    assert "out of memory" in policy.failures["broken"]


def test_no_more_requests_run_at_once_than_allowed(server):
    policy = opened(concurrency=2)
    running: list[int] = []

    def counting(session, body):
        asked, answered = server.count("/api/v1/asample"), len(running)
        running.append(asked - answered)
        return real(session, body)

    real, server.lab.sample = server.lab.sample, counting
    assert len(dict(policy.generate(deque([ask(i) for i in range(8)])))) == 8
    assert max(running) <= 3  # one may have been answered and its successor asked for already


def test_the_key_is_in_no_error_log_or_file(server, tmp_path, monkeypatch, capfd):
    canary = "tml-canary-0123456789"
    monkeypatch.setenv("TINKER_API_KEY", canary)
    with pytest.raises(ModelError, match="refused the key") as refused:
        opened()  # the server's answer repeats the key
    server.keys.add(canary)
    policy = prepared(server)
    server.fault = lambda path, earlier: (
        (400, "what is KEY?") if path.endswith("asample") and not earlier else None
    )
    assert list(policy.generate(deque([ask(0)]))) == []
    assert "[secret]" in policy.failures["r0"]
    server.fault = lambda path, earlier: None
    samples = play(policy)
    policy.update(samples, built("ppo"), Step())
    policy.save(tmp_path / "kept")
    server.fault = lambda path, earlier: (422, "no, KEY") if "forward" in path else None
    with pytest.raises(ModelError, match="did not train") as failed:
        policy.update(samples, built("ppo"), Step())
    assert "[secret]" in str(refused.value) and "[secret]" in str(failed.value)
    shown = capfd.readouterr()
    told = [str(refused.value), str(failed.value), repr(policy.failures), shown.out, shown.err]
    told += [repr(e.value.__cause__) for e in (refused, failed)]
    told += [(tmp_path / "kept/policy.json").read_text(), repr(policy.identity), *policy.notes]
    assert all("canary" not in text for text in told)


def test_what_the_trainer_cannot_compute_is_refused_before_it_is_sent(server):
    policy = prepared(server)
    samples = play(policy)

    def own(batch, size):
        return batch.new.sum()

    for loss, bad, said in (
        (own, samples, "a function of its own"),
        (built("rloo"), samples, "weights whole completions"),
        (built("ppo"), [replace(s, temperature=0.7) for s in samples], "temperature 0.7"),
        (built("ppo"), [replace(s, top_p=0.9) for s in samples], "renormalise"),
    ):
        with pytest.raises(UsageError, match=said):
            policy.update(bad, loss, Step())
    assert server.count("/api/v1/forward_backward") == 0
    assert policy.version == 0


def test_a_step_whose_numbers_are_not_finite_is_not_taken(server):
    policy = prepared(server)
    samples = play(policy)
    broken = replace(samples[0], logprobs=(float("nan"),) * len(samples[0].logprobs))
    with pytest.raises(ModelError, match=r"A sample's .*not finite"):
        policy.update([broken], built("ppo"), Step())
    assert server.count("/api/v1/forward_backward") == 0
    real = server.lab.forward_backward

    def overflowed(model, body):
        told = real(model, body)
        return told | {"logprobs": [[float("nan")] * len(row) for row in told["logprobs"]]}

    server.lab.forward_backward = overflowed
    with pytest.raises(ModelError, match=r"The server's trainer .*not finite"):
        policy.update(samples, built("ppo"), Step())
    assert server.lab.steps == policy.version == 0


def test_log_probabilities_of_the_sampler_are_not_blamed_on_the_trainer(server):
    policy, real = opened(), server.lab.sample
    server.lab.sample = lambda session, body: real(session, body) | {"logprobs": [float("nan")]}
    with pytest.raises(ModelError, match=r"127\.0\.0\.1.* sampled with .*not finite"):
        list(policy.generate(deque([ask(0, max_tokens=1)])))


def test_a_token_beyond_the_models_vocabulary_is_unscored_and_no_empty_answer(server):
    policy, real = opened(), server.lab.sample
    size = policy._limits.vocabulary
    assert size > 1
    for token, answered in ((size - 1, ["r0"]), (size, []), (size + 7, [])):
        made = {"tokens": [token], "logprobs": [-1.0], "stop": False}
        server.lab.sample = lambda session, body, made=made: real(session, body) | made
        assert [id for id, _ in policy.generate(deque([ask(0, max_tokens=1)]))] == answered
        assert set(policy.failures) == {"r0"} - set(answered)
    assert f"token id {size + 7}, and the model's vocabulary has {size}" in policy.failures["r0"]


def test_no_samples_no_step(server, tmp_path):
    policy = opened()
    assert set(policy.update([], built("ppo"), Step()).values()) == {0.0}
    policy.save(tmp_path)
    assert json.loads((tmp_path / "policy.json").read_text())["states"] == []
    assert server.count("/api/v1/create_model") == 0
