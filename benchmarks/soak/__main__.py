"""Long versions of the stress tests; `make test` runs 1/50 of each.

    python -m benchmarks.soak                     # every stress test at full length (make soak)
    python -m benchmarks.soak kills --seed 1 --count 50
    python -m benchmarks.soak --list

Each stress test prints its results and appends a line to benchmarks/soak/results/NAME.jsonl:
date, commit, command, seed, count, figures, failures. The exit code is 1 if anything failed. One
without its requirements prints "not run: why", and the last line counts these; if it was requested
by name, the exit code is 1 as well.
"""

import argparse
from pathlib import Path

from benchmarks.soak._frame import NotRun, known, perform


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    soaks = known()
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(soaks)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, help="how much; the default is each soak's own")
    parser.add_argument("--keep", type=Path, help="a new folder to work in, and to leave behind")
    parser.add_argument("--list", action="store_true", help="say what there is")
    asked = parser.parse_args()
    for name in asked.names:
        if name not in soaks:
            parser.error(f"there is no soak '{name}'; known: {', '.join(soaks)}")
    if asked.list:
        for name, soak in soaks.items():
            print(f"{name:10} {soak.COUNT:>9,}  {(soak.__doc__ or '').splitlines()[0]}")
        return 0
    wanted, failed, missing = asked.names or list(soaks), [], []
    for name in wanted:
        try:
            if perform(name, asked.seed, asked.count, asked.keep):
                failed.append(name)
        except NotRun as why:
            print(f"{name}: not run: {why}", flush=True)
            missing.append(name)
    if missing:
        print(f"{len(missing)} of {len(wanted)} soaks not run: {', '.join(missing)}", flush=True)
    return 1 if failed or (asked.names and missing) else 0


if __name__ == "__main__":
    raise SystemExit(main())
