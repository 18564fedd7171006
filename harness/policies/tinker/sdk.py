"""Two releases of Tinker's SDK behind one set of functions: 0.38 and 0.25.

Tinker's own service wants 0.38 (extra `tinker`); SkyRL 0.4.0's server brings 0.25 (extra `skyrl`).
0.38 promises what 0.25 answers at once, and asks without a session what 0.25 asks its client.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from importlib.util import find_spec
from typing import Any

from harness.errors import ModelError

HOSTED = "https://tinker.thinkingmachines.dev/services/tinker-prod"
"""The service's own address, which both releases know."""
EXTRAS = (
    "pip install '.[tinker]' brings the release for Tinker's own service, "
    "'.[skyrl]' the one for SkyRL 0.4.0's server"
)


def import_sdk() -> Any:
    """The installed SDK.

    Raises:
        ModelError: There is none.
    """
    if find_spec("tinker") is None:
        raise ModelError(f"tinker: models need Tinker's SDK, and none is installed: {EXTRAS}.")
    import tinker

    return tinker


def check_hosted(sdk: Any) -> None:
    """Refuse an SDK that the hosted service is not spoken to with.

    Raises:
        ModelError: It is older than 0.38.
    """
    if not hasattr(sdk, "RestClient"):
        raise ModelError(
            f"The installed SDK, tinker {sdk.__version__}, is for servers of one's own: {EXTRAS}; "
            "or name your server in TINKER_BASE_URL."
        )


def get_result(answer: Any) -> Any:
    """The result of a call: what 0.38 promises, or what 0.25 has answered already."""
    result = getattr(answer, "result", None)
    return result() if callable(result) else answer


def get_future(pending: Any) -> Future[Any]:
    """The future of a request that was sent."""
    make = getattr(pending, "future", None)
    future: Future[Any] = make() if callable(make) else pending
    return future


def start(call: Callable[[], Any]) -> Future[Any]:
    """Make a call that may block for ever in a thread that nothing waits for at the end."""
    future: Future[Any] = Future()

    def work() -> None:
        try:
            future.set_result(get_result(call()))
        except BaseException as error:
            # Handed to whoever waits for the result: in this thread nobody would see it.
            future.set_exception(error)

    threading.Thread(target=work, name="tinker", daemon=True).start()
    return future


def rest_client(sdk: Any, client: Any, address: str, key: str) -> Any:
    """The client that deletes states and downloads adapters."""
    if hasattr(sdk, "RestClient"):
        return sdk.RestClient(base_url=address, api_key=key)
    return client.create_rest_client()
