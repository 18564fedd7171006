"""The policy lag that checkpoints of earlier versions recorded.

Earlier versions could sample with weights some iterations older than those being trained. Their
checkpoints have a file `behind.json` beside the newest weights, which load like any others.
"""

import json
from pathlib import Path

from harness.errors import ModelError

_FACTS = "behind.json"


def staleness_of(folder: Path) -> int:
    """The policy lag at which the weights were saved, in iterations; 0 where none was recorded.

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
