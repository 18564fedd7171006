"""Stress test of shell tasks with workers killed at random; nothing may be left behind.

Workers run the reference solution and some hostile commands in containers. Three of ten episodes
are started by a worker that is killed by SIGKILL, and are repeated. Afterwards no container,
volume, mount or process of theirs may exist. DOCKER_HOST names the daemon, which must be on this
machine.
"""

from pathlib import Path

from benchmarks.soak._frame import Found, NotRun

COUNT = 200  # episodes
NEEDS = "docker_host"
_WORKERS = 4


def soak(seed: int, count: int, folder: Path) -> Found:
    """Play `count` episodes, kill, play again, look."""
    from benchmarks.terminal_soak import soak as play
    from envs.containers import DockerUnavailable
    from envs.containers.daemon import connect
    from envs.containers.image import busybox
    from envs.errors import DataUnavailable

    try:
        busybox()
        connect()
    except (DockerUnavailable, DataUnavailable) as why:
        raise NotRun(str(why)) from why
    kills = max(min(3, count), 3 * count // 10)  # also of a short version
    workers = min(_WORKERS, max(1, count // 2))
    found = play(count, kills, seed, workers)
    failures = [f"left behind: {thing}" for thing in found.rest]
    if not found.episodes == found.right == count:
        failures.append(f"of {count} episodes {found.episodes} ended and {found.right} were right")
    if found.killed != kills:
        failures.append(f"{found.killed} workers were killed instead of {kills}")
    figures: dict[str, int | float | str] = {
        "episodes right": found.right,
        "workers": workers,
        "workers killed": found.killed,
        "in the middle of an episode": found.interrupted,
        "containers and volumes made": found.made,
        "orphans met by later starts": found.orphans,
        "left behind": len(found.rest),
        "seconds": round(found.seconds),
    }
    return Found(figures, tuple(failures[:50]))
