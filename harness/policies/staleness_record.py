"""The policy lag that checkpoints of earlier versions recorded.

A run of theirs could sample by weights some updates older than those that learn. Its checkpoints
have a file `behind.json` beside the newest weights, which are whole and load like any others.
"""

import json
from pathlib import Path

from harness.errors import ModelError

_FACTS = "behind.json"


def staleness_of(folder: Path) -> int:
    """The staleness at which weights were saved; 0 where nothing was recorded.

    Raises:
        ModelError: The record cannot be read.
    """
    try:
        return int(json.loads((folder / _FACTS).read_text())["staleness"])
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"The checkpoint cannot be read ({error}): resume from an earlier one."
        ) from error
