"""A fiftieth of every soak; `make soak` runs them at full length."""

import pytest

from benchmarks.soak._frame import known, short

SOAKS = known()


@pytest.mark.slow
@pytest.mark.parametrize("name", SOAKS)
def test_a_fiftieth_of(name, tmp_path):
    found = SOAKS[name].soak(seed=0, count=short(SOAKS[name]), folder=tmp_path)
    assert found.failures == ()
    assert found.figures
