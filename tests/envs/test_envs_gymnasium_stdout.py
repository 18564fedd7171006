"""What an environment prints would spoil output that programs read."""

import gymnasium
from gymnasium import spaces

import envs


class Loud(gymnasium.Env):
    metadata = {"render_modes": []}  # noqa: RUF012  # as gymnasium declares it

    def __init__(self, render_mode=None):
        self.observation_space, self.action_space = spaces.Discrete(2), spaces.Discrete(2)
        print("made")

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        print("reset")
        return 0, {}

    def step(self, action):
        print("stepped")
        return 1, 1.0, True, False, {}


def test_what_an_environment_prints_is_not_on_standard_output(capfd):
    gymnasium.register("Test/Loud-v0", entry_point=Loud)
    try:
        env = envs.make("Test/Loud-v0")
        env.reset(seed=0)
        env.step("Action: 1")
    finally:
        del gymnasium.registry["Test/Loud-v0"]
    out, err = capfd.readouterr()
    assert out == ""
    assert err.split() == ["made", "reset", "stepped"]
