"""The graders of other projects, run by an interpreter that has them; it needs nothing of ours.

    python peers.py NAME    one JSON line in ({"reference", "reply"}), one out ({"right", "cpu"})

A verdict that takes over five seconds, or an error, is no acceptance: that is what these graders
make of it themselves. `missing` is told at once where the project is not installed.
"""

import importlib.util
import json
import logging
import re
import signal
import sys
import time
from collections.abc import Callable

SECONDS = 5
Judge = Callable[[str, str], bool]
_BOX = re.compile(r"\\boxed\{(.*)\}", re.DOTALL)


def _boxed(reply: str) -> str:
    found = _BOX.search(reply)
    return found[1] if found else reply


def math_verify() -> Judge:
    """math-verify alone, on LaTeX, what is boxed first; its own timeouts are off, ours are on."""
    from math_verify import LatexExtractionConfig, parse, verify

    latex = [LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)]

    def judge(reference: str, reply: str) -> bool:
        gold = parse(f"\\boxed{{{reference}}}", latex, parsing_timeout=None)
        return bool(verify(gold, parse(reply, latex, parsing_timeout=None), timeout_seconds=None))

    return judge


def minerva() -> Judge:
    """lm-eval's minerva_math: its normaliser on the final answer, then sympy."""
    from lm_eval.tasks.minerva_math import utils

    def judge(reference: str, reply: str) -> bool:
        final = utils.normalize_final_answer(f"${_boxed(reply)}$")
        return bool(utils.is_equiv(final, utils.normalize_final_answer(f"${reference}$")))

    return judge


def verl() -> Judge:
    """Verl's reward of the MATH data set, from its file: the package needs a GPU stack."""
    place = importlib.util.find_spec("verl")
    assert place is not None and place.submodule_search_locations is not None
    path = f"{next(iter(place.submodule_search_locations))}/utils/reward_score/math_reward.py"
    spec = importlib.util.spec_from_file_location("verl_math_reward", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda reference, reply: module.compute_score(reply, reference) == 1.0


PEERS: dict[str, tuple[str, Callable[[], Judge]]] = {
    "math-verify": ("math_verify", math_verify),
    "lm-eval minerva_math": ("lm_eval", minerva),
    "verl math_reward": ("verl", verl),
}


def _late(number: int, frame: object) -> None:
    raise TimeoutError


def main(name: str) -> int:
    package, make = PEERS[name]
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints is no verdict
    try:
        if importlib.util.find_spec(package) is None:
            raise ImportError(f"{package} is not installed")
        judge = make()
    except (ImportError, AssertionError) as error:
        print(json.dumps({"missing": str(error)[:200]}), file=answers, flush=True)
        return 1
    logging.disable(logging.CRITICAL)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        pair = json.loads(line)
        began = time.process_time()
        signal.signal(signal.SIGALRM, _late)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            right = judge(pair["reference"], pair["reply"])
        except Exception:  # an error accepts nothing
            right = False
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        told = {"right": right, "cpu": time.process_time() - began}
        print(json.dumps(told), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
