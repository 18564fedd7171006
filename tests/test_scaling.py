"""The bottleneck formula, where its answer is known."""

import importlib.util
import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[1]
PLACE = HOME / "benchmarks" / "scaling.py"


@pytest.fixture(scope="module")
def scaling():
    spec = importlib.util.spec_from_file_location("scaling", PLACE)
    module = sys.modules["scaling"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["scaling"]


@pytest.fixture
def plain(scaling):
    """100 episodes of 1,000 tokens; nothing but sampling takes time."""
    return scaling.Numbers(
        episodes=100,
        turns=1,
        prompt=0,
        lengths=[1000],
        sample_rate=1000,
        step_seconds=0.0,
        train_rate=1e12,
        sandbox_seconds=[0],
        sandboxes_per_gpu=1,
        transfer_seconds=0,
        reflection_tokens=0,
        reflection_length=0,
        harness_seconds=0,
    )


def test_sampling_shares_out_until_every_gpu_has_one_episode(scaling, plain):
    seconds = [scaling.reckon(plain, g).seconds for g in (1, 10, 100, 1000)]
    assert seconds == pytest.approx([100, 10, 1, 1])


@pytest.mark.parametrize(
    ("change", "bound", "seconds"),
    [
        ({"step_seconds": 0.1}, "the longest episode", 100),
        ({"sandbox_seconds": [20]}, "sandboxes", 200),
        ({"train_rate": 100}, "training", 110),
        ({"transfer_seconds": 30}, "weight transfer", 40),
        ({"reflection_tokens": 1e6}, "reflecting", 110),
        ({"step_seconds": 0.01, "reflection_length": 2000}, "the reflection's four stages", 90),
        ({"harness_seconds": 1}, "the harness", 110),
    ],
)
def test_each_part_can_be_what_bounds_ten_gpus(scaling, plain, change, bound, seconds):
    told = scaling.reckon(replace(plain, **change), 10)
    assert told.bound == bound
    assert told.seconds == pytest.approx(seconds)
    assert told.overlapped <= told.seconds


def test_the_expected_longest_is_what_drawing_gives(scaling):
    rng, values = random.Random(0), [1.0, 2.0, 5.0, 40.0]
    drawn = [max(rng.choices(values, k=6)) for _ in range(20_000)]
    assert scaling.expected_max(values, 6) == pytest.approx(sum(drawn) / len(drawn), rel=0.01)
    assert scaling.expected_max(values, 1) == scaling.mean(values)


def test_two_points_give_what_shrinks_and_what_does_not(scaling):
    assert scaling.floor_of({32: 790.0, 128: 356.0}) == pytest.approx((18517, 211), abs=0.5)


def test_the_script_reads_its_file_and_a_runs_own_lengths(tmp_path):
    turns = [{"turns": [{"sampled": 10}, {"sampled": 30}]}]
    (tmp_path / "e.jsonl").write_text("".join(json.dumps(t) + "\n" for t in turns))
    words = [sys.executable, PLACE, "--lengths", tmp_path / "e.jsonl", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    told = json.loads(done.stdout)
    assert {"smollm2-here", "qwen3-4b-h100", "terminal-h100"} == set(told)
    assert [r["gpus"] for r in told["terminal-h100"]][-1] == 1000
    text = subprocess.run([sys.executable, PLACE], capture_output=True, text=True, check=True)
    assert "assumed, not measured: prompt, lengths" in text.stdout
    assert "training rate 6200 tokens/s, published: prime-rl" in text.stdout
