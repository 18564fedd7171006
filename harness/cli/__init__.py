"""The `harness` command.

Exit codes: 0 done · 1 an error of the harness · 2 a request that cannot be understood · 3 data
missing or different · 4 a model that cannot be used · 5 a run directory that cannot be used ·
6 a grader that misjudges · 7 a cluster that cannot be used · 130 stopped by the user, 143 by
SIGTERM, 129 by SIGHUP (resumable).
"""

from harness.system.import_guard import check_packages, pin_packages

pin_packages()
check_packages()

from harness.cli.main import main  # noqa: E402 - imports the packages that were pinned

__all__ = ["main"]
