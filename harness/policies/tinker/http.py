"""Plain requests to a server that speaks Tinker's protocol, beside those of the SDK."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urljoin
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from typing_extensions import override


class _NoRedirect(HTTPRedirectHandler):
    """Follows no redirect by itself, because the key would be sent there too."""

    @override
    def redirect_request(self, *_: Any) -> None:
        return None


def fetch(
    url: str, seconds: float, key: str = "", body: object = None, direct: bool = False
) -> bytes:
    """A server's answer; `direct` bypasses any proxy, which cannot reach this machine.

    Where the server names another address, that is asked without the key.

    Raises:
        OSError: It cannot be reached, or answers with an error.
    """
    opener = build_opener(_NoRedirect, *([ProxyHandler({})] if direct else []))
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | ({"X-API-Key": key} if key else {})
    try:
        with opener.open(Request(url, data, headers), timeout=seconds) as answer:
            content: bytes = answer.read()
            return content
    except HTTPError as error:
        target = error.headers.get("Location", "")
        if 300 <= error.code < 400 and target and key:
            return fetch(urljoin(url, target), seconds, direct=direct)
        raise


def answers(url: str, seconds: float, direct: bool) -> None:
    """See that anything answers at an address, an error too.

    Raises:
        OSError: Nothing does.
    """
    try:
        fetch(url, seconds, direct=direct)
    except HTTPError:
        return
