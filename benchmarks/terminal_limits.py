# ruff: noqa: E501
"""Test of container limits and isolation with many hostile containers at once.

    DOCKER_HOST=unix:///path python -m benchmarks.terminal_limits --containers 50

Every container has its own canary file and stays open until all are. All then attack at the same
time: they exhaust memory, processes, disk and CPU, and try to reach the network, the daemon and
other containers' canaries. Prints one JSON line; exit code 1 if a limit did not hold.
"""

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from envs.containers import ContainerLimits, FileTree, Sandbox
from envs.containers.archive import File
from envs.containers.daemon import connect
from envs.containers.image import shell_image
from envs.containers.owner import OWNER, identity
from envs.containers.reaping import left

# What is tried, and a word that its output holds only where the limit failed.
ATTEMPTS = {
    "memory": "x=$(dd if=/dev/zero bs=1M count=96 2>/dev/null | tr '\\0' a) && echo BROKEN ${#x}",
    "disk": "dd if=/dev/zero of=big bs=1M count=17 2>&1; [ $(stat -c %s big) -gt 16777216 ] && echo BROKEN; rm -f big",
    "files": "i=0; while [ $i -lt 4200 ]; do : > f$i || break; i=$((i+1)); done 2>/dev/null; [ $i -ge 4200 ] && echo BROKEN; rm -f f*; :",
    "processes": "i=0; while [ $i -lt 80 ]; do sleep 3 & i=$((i+1)); done 2>/dev/null; [ $(ls -d /proc/[0-9]* | wc -l) -gt 64 ] && echo BROKEN; :",
    "network": "ls /sys/class/net | grep -v lo && echo BROKEN; wget -q -T 1 -O- http://127.0.0.1 && echo BROKEN; :",
    "daemon": "for s in /var/run/docker.sock /run/docker.sock; do [ -e $s ] && echo BROKEN; done; :",
    "host": "[ -e /check ] && echo BROKEN; cat /proc/1/environ /etc/shadow 2>/dev/null | grep -q . && echo BROKEN; mount -t proc p /tmp 2>/dev/null && echo BROKEN; :",
    "output": "yes | head -c 3000000",
    "spin": "while :; do :; done",
}  # fmt: skip


def hostile(number: int, room: Sandbox) -> dict[str, str]:
    """Broken limits in one container, by attempt; {} if every limit held."""
    broken = {}
    neighbours = f"cat /work/canary; grep -rl canary-of- /proc/*/root/work /work 2>/dev/null | grep -v /work/canary$ && echo BROKEN canary-of-{number}; :"
    for name, script in {**ATTEMPTS, "neighbours": neighbours}.items():
        seconds = 3.0 if name == "spin" else 60.0
        said = room.run(script, seconds)
        text = said.both.decode(errors="replace")
        if "BROKEN" in text or (name == "spin" and said.stopped != "time"):
            broken[name] = text[-200:]
        if name == "output" and len(said.both) > 8000:
            broken[name] = f"{len(said.both)} bytes kept"
        if name == "neighbours" and f"canary-of-{number}" not in text:
            broken[name] = f"its own canary is gone: {text[-200:]!r}"
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--containers", type=int, default=50)
    parser.add_argument("--threads", type=int, default=8, help="started and driven side by side")
    asked = parser.parse_args()
    image, began = shell_image(connect()), time.monotonic()

    def opened(number: int) -> Sandbox:
        canary = File(f"canary-of-{number}\n".encode())
        return Sandbox(image, ContainerLimits(), FileTree(files={"canary": canary}))

    with ThreadPoolExecutor(asked.threads) as pool:
        rooms = list(pool.map(opened, range(asked.containers)))
        started = time.monotonic() - began
        try:
            results = list(pool.map(lambda pair: hostile(*pair), enumerate(rooms)))
        finally:
            list(pool.map(Sandbox.close, rooms))
    mine = left(connect(), lambda labels: labels.get(OWNER) == identity())
    broken = {str(n): found for n, found in enumerate(results) if found}
    figures = {
        "containers_at_once": len(rooms), "attempts": len(rooms) * (len(ATTEMPTS) + 1),
        "broken": broken, "left": len(mine), "started_s": round(started, 1),
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip
    print(json.dumps(figures))
    return 1 if broken or mine else 0


if __name__ == "__main__":
    sys.exit(main())
