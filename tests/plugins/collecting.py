"""For tests with Tinker's SDK, which leaves the connection open that fetched its configuration."""

import gc
from collections.abc import Iterator

import pytest

QUIET = [
    pytest.mark.filterwarnings("ignore:unclosed"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def collected() -> Iterator[None]:
    """What the SDK left is collected while its warnings are still expected."""
    yield
    gc.collect()
