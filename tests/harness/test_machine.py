"""Which model suits which machine, and what a full run would take."""

import pytest

from harness.system.hardware import Machine, default_model, predicted_hours


@pytest.mark.parametrize(
    ("memory", "model", "preset"),
    [
        (0, "smollm2", "laptop"),
        (24, "smollm2", "laptop"),
        (48, "hf:Qwen/Qwen3-0.6B", "gpu"),
        (80, "hf:Qwen/Qwen3-4B", "gpu"),
    ],
)
def test_the_largest_model_that_trains_here_is_chosen(memory, model, preset):
    device = "cuda" if memory else "cpu"
    chosen = default_model(Machine(device, "a card", memory, 8))
    assert (chosen.model, chosen.preset) == (model, preset)


def test_hours_are_tokens_over_rows_times_a_step():
    # (3000 · 5/3 + 1000) replies × 7500 tokens / 32 rows × 0.03 s / 3600 s
    assert predicted_hours(3000, 1000, 7500, 32) == pytest.approx(11.72, abs=0.01)


def test_a_world_with_a_model_of_its_own_gets_that_model():
    assert default_model(Machine("cuda", "a card", 80, 8), "calibration/told").model == "pocket"
