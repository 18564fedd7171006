"""A test that is left out says why, and CI knows every reason."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parent / "plugins"


@pytest.mark.parametrize(
    ("reason", "ci", "code"),
    [
        ("not run: HARNESS_DATA_DIR is not set", "true", 0),
        ("not run: the moon is wrong", "true", 1),
        ("not run: the moon is wrong", "", 0),
        ("later", "", 1),
    ],
)
def test_a_skip_without_a_known_reason_fails(tmp_path, reason, ci, code):
    test = f"import pytest\ndef test_a(): pytest.skip({reason!r})\ndef test_b(): pass\n"
    (tmp_path / "test_x.py").write_text(test)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "not_run", str(tmp_path / "test_x.py")],
        cwd=tmp_path,
        env={**os.environ, "CI": ci, "PYTHONPATH": str(PLUGINS)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == code
    assert f"1 tests {reason}" in done.stdout
