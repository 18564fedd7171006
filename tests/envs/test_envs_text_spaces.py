"""Text for Gymnasium spaces."""

import numpy as np
import pytest
from gymnasium import spaces

from envs.adapters.text_spaces import (
    colours_as_tags,
    observation_text,
    parse_action,
    stated_action,
)


def test_drawings_keep_what_their_colours_say():
    drawing = "\x1b[41mS\x1b[0mF\n\x1b[34;1mB\x1b[0m:\x1b[43m \x1b[0m"
    assert colours_as_tags(drawing) == "<red>S</red>F\n<blue>B</blue>:<yellow> </yellow>"


@pytest.mark.parametrize(
    ("reply", "stated"),
    [
        ("Action: 1\nno, Action: **2**", "2"),
        ("up", "up"),
        ("ACTION : go\nAnswer", "go"),
        ("", None),
        ("Action:", None),
        ("a" * 101, None),
        ("thinking " * 50_000 + "Action: 3", "3"),
    ],
)
def test_the_last_action_counts_or_the_whole_of_a_short_reply(reply, stated):
    assert stated_action(reply) == stated


def test_numbers_are_told_shortly():
    assert (
        observation_text(spaces.Box(-9, 9, (3,)), np.array([0.123456, -1, 2e-9]))
        == "0.1235 -1 2e-09"
    )
    assert observation_text(spaces.MultiBinary(2), np.array([1, 0])) == "1 0"


def test_a_number_too_large_for_the_space_is_no_action_and_no_warning():
    space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    with pytest.raises(ValueError):
        parse_action(space, "1e300")
