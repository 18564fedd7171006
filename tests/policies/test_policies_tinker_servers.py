"""Servers that forget, die, run full or do not fit, in the shapes of two releases of the SDK."""

import json
import time
from collections import deque

import pytest
import torch
from collecting import QUIET, collected  # noqa: F401
from tinker_cases import ask, built, either_server, opened, play, prepared  # noqa: F401
from tinker_standin import KEY, tinker_server
from tinker_stub import put_in_place

from harness.errors import ModelError
from harness.policies.base import Sample, Step

pytestmark = QUIET


def test_a_server_that_forgets_its_models_stops_the_run_and_spends_no_episode(server):
    policy = opened()
    policy.update(play(policy), built("ppo"), Step())
    server.lab.samplers.clear()
    with pytest.raises(ModelError, match=r"answers no request any more.*harness resume"):
        list(policy.generate(deque([ask(0), ask(1)])))
    assert policy.failures == {}
    server.lab.models.clear()
    with pytest.raises(ModelError, match=r"did not train.*harness resume"):
        policy.update(play_again(policy), built("ppo"), Step())


def play_again(policy):
    """Samples of the reference, whose sampler was forgotten too: made up, then."""
    return [Sample((1, 5, 6), (7, 8), (-5.0, -5.0), 1.0)]


def test_a_server_that_answers_nobody_is_waited_for_and_then_stops_the_run(server, monkeypatch):
    from harness.policies.tinker import service as tinker_service

    monkeypatch.setattr(tinker_service, "LOOK", 0.2)
    policy = opened(patience=1.0, timeout=60.0)
    monkeypatch.setattr(policy._service, "address", "http://127.0.0.1:1")
    server.lab.sample = lambda session, body: time.sleep(30)
    began = time.monotonic()
    with pytest.raises(ModelError, match="has answered nobody for 1 s"):
        list(policy.generate(deque([ask(0)])))
    assert time.monotonic() - began < 20


def test_nothing_learnt_yet_is_gone_on_with(server, tmp_path):
    policy = opened()
    policy.save(tmp_path)
    other = opened()
    other.load(tmp_path)
    assert (other.version, play(other)) == (0, play(policy))


def test_a_full_disk_there_is_found_before_a_round_and_after_it(server, tmp_path):
    def full(id, name):
        raise OSError(28, "No space left on device")

    policy = prepared(server)
    policy.update(play(policy), built("ppo"), Step())
    server.lab.save, real = full, server.lab.save
    with pytest.raises(ModelError, match=r"did not keep the trained state.*No space left"):
        policy.save(tmp_path)
    with pytest.raises(ModelError, match=r"did not keep the trained state.*No space left"):
        opened().prepare()
    server.lab.save = real
    policy.save(tmp_path)
    assert json.loads((tmp_path / "policy.json").read_text())["version"] == 1


def test_a_state_that_is_kept_under_no_path_is_the_servers_fault_said_once(server):
    real = server.lab.save
    server.lab.save = lambda id, name: real(id, name) | {"path": None}
    with pytest.raises(ModelError) as told:
        opened().prepare()
    said = str(told.value)
    assert "The server http://127.0.0.1" in said
    assert "the trained state" in said
    assert "does not fit" not in said
    assert len(said) < 500


def test_an_errors_cause_is_said_once(server):
    service, cause = opened()._service, ValueError("no path")
    for text, said in (("no path", "OSError: no path"), ("kept", "OSError: kept (no path)")):
        error = OSError(text)
        error.__cause__ = cause
        assert service.reason(error) == said


def test_an_adapter_comes_out_as_peft_reads_it(server, tmp_path, tiny_model):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    policy = opened()
    policy.update(play(policy), built("importance_sampling"), Step(learning_rate=1e-2))
    policy.save(tmp_path / "kept")
    policy.export(tmp_path / "adapter", merged=False)
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    model = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    for sample in play(policy):
        ids = torch.tensor([[*sample.prompt, *sample.sampled]])
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, len(sample.prompt) - 1 : -1]
        told = torch.log_softmax(logits, -1).gather(1, ids[0, len(sample.prompt) :, None])[:, 0]
        assert told.tolist() == pytest.approx(list(sample.logprobs), abs=1e-4)


@pytest.mark.parametrize(("sdk", "shape"), [("0.38", "0.25"), ("0.25", "0.38")])
def test_an_sdk_that_does_not_fit_the_server_is_one_sentence_before_a_round(
    tiny_model, tmp_path, monkeypatch, sdk, shape
):
    put_in_place(monkeypatch, sdk, tmp_path)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "llama").symlink_to(tiny_model)
    monkeypatch.chdir(tmp_path)
    with tinker_server({"tiny/llama": tiny_model}, shape=shape) as (url, _):
        monkeypatch.setenv("TINKER_BASE_URL", url)
        monkeypatch.setenv("TINKER_API_KEY", KEY)
        with pytest.raises(ModelError, match=rf"tinker {sdk}.*does not fit.*\[skyrl\]"):
            opened().prepare()


def test_the_hosted_service_is_not_spoken_to_with_the_sdk_for_other_servers(monkeypatch, tmp_path):
    put_in_place(monkeypatch, "0.25", tmp_path)
    monkeypatch.delenv("TINKER_BASE_URL", raising=False)
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    with pytest.raises(ModelError, match="is for servers of one's own"):
        opened()
