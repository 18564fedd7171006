"""Duration of Docker's requests to create and start containers, with many at once.

    DOCKER_HOST=unix:///path python -m benchmarks.terminal_starts --containers 50 --starts 8 50

`--starts` is the number created and started at a time, each value in turn; all stay open meanwhile.
"""

import argparse
import os
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker.api.client

from envs.containers import ContainerLimits, FileTree, Sandbox, daemon
from envs.containers.daemon import connect
from envs.containers.image import shell_image


class Timed:
    """Seconds of every request to create and to start a container, while it is entered."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {"create": [], "start": []}
        self._send = docker.api.client.APIClient.send

    def __enter__(self) -> "Timed":
        def send(client: Any, request: Any, **more: Any) -> Any:
            began = time.monotonic()
            try:
                return self._send(client, request, **more)
            finally:
                what = request.url.split("?")[0].rpartition("/")[2]
                if "/containers/" in request.url and what in self.seconds:
                    self.seconds[what].append(time.monotonic() - began)

        docker.api.client.APIClient.send = send
        return self

    def __exit__(self, *_: object) -> None:
        docker.api.client.APIClient.send = self._send


def measure(containers: int, starts: int) -> None:
    """Open so many sandboxes by as many threads, print, and close them."""
    image = shell_image(connect())
    daemon._starts[os.getpid()] = threading.BoundedSemaphore(starts)
    with ThreadPoolExecutor(containers) as pool, Timed() as timed:
        began = time.monotonic()
        opened = [
            pool.submit(Sandbox, image, ContainerLimits(), FileTree()) for _ in range(containers)
        ]
        failed = sum(one.exception() is not None for one in opened)
        seconds = time.monotonic() - began
        list(pool.map(Sandbox.close, [one.result() for one in opened if not one.exception()]))
    figures = ", ".join(
        f"{what} median {statistics.median(took):.2f} s, longest {max(took):.2f} s"
        for what, took in timed.seconds.items()
    )
    print(
        f"{starts:3} starts at a time: {containers - failed} of {containers} open after "
        f"{seconds:.1f} s; {figures}; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--containers", type=int, default=50)
    parser.add_argument("--starts", type=int, nargs="+", default=[8, 50])
    asked = parser.parse_args()
    for starts in asked.starts:
        measure(asked.containers, starts)


if __name__ == "__main__":
    main()
