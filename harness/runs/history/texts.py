"""Permission to publish the texts of an environment."""

from functools import cache

import envs
from envs.errors import EnvError
from envs.registry import path_options
from harness.runs.envs import untrusted
from harness.settings.config import Config


def may_publish(request: Config, trusted: tuple[str, ...]) -> bool:
    """True if observations may be shown on a page.

    An environment's permission covers only the data that it comes with, not data files named by
    the user, unless the configuration sets `publish`. No permission is assumed for environments
    that cannot be found or are not trusted.
    """
    options = request.env_options
    if options.get("publish") is True:
        return True
    allowed, paths = _described(request.env.name, trusted)
    return allowed and not request.env.data_dir and not any(options.get(name) for name in paths)


@cache
def _described(name: str, trusted: tuple[str, ...]) -> tuple[bool, tuple[str, ...]]:
    if untrusted(name, {}, trusted):
        return False, ()
    try:
        return envs.describe(name).redistributable, tuple(path_options(name))
    except (EnvError, ImportError):
        return False, ()
