"""Compare every causal architecture with transformers, and print the table.

    python -m benchmarks.models                     # all of them, a few minutes
    python -m benchmarks.models llama mixtral       # these
    python -m benchmarks.models --write             # all, written to docs/models.md

A family that is neither right nor refused fails.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.models.families import FamilyResult, examine
from benchmarks.models.page import page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "models.md"


def every_kind() -> tuple[str, ...]:
    """The model types that transformers loads as causal language models."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))


def examined(kinds: Sequence[str]) -> Iterator[FamilyResult]:
    """Each architecture's result, in a folder that is deleted afterwards."""
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="models-") as folder:
            yield examine(kind, Path(folder))


def _line(found: FamilyResult) -> str:
    if found.outcome != "right":
        return f"{found.kind:24} {found.outcome:9} {found.reason}"
    worst = max(found.errors.values())
    return (
        f"{found.kind:24} {found.outcome:9} {found.path}, error {worst:.0e}, adapter on "
        f"{found.covered:.0%}, {found.speeds[0]:,.0f} → {found.speeds[1]:,.0f} tokens/s"
    )


def main() -> int:
    """Print a line for each; the exit code is 1 where one is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.models",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kinds", nargs="*", metavar="TYPE", help="a model type; all without")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    asked = parser.parse_args()
    results = []
    for found in examined(asked.kinds or every_kind()):
        print(_line(found), flush=True)
        results.append(found)
    if asked.write:
        PAGE.write_text(page(results), encoding="utf-8")
    counts = {o: sum(r.outcome == o for r in results) for o in ("right", "refused", "not made")}
    wrong = [r.kind for r in results if r.outcome == "wrong"]
    print(", ".join(f"{n} {o}" for o, n in counts.items()), f"{len(wrong)} wrong", sep=", ")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
