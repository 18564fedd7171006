"""The final agent of a run: the prompt that was selected, and the weights that it was tested with.

    champion.txt   the prompt as the model reads it
    champion.json  the prompt in parts, and the version of the weights

Both are written before the test split is opened. Read back, they are compared with the record of
that evaluation and with the entry, so that nothing else is evaluated or exported in their name.
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from harness.errors import RunError
from harness.storage.atomic_files import read_json, write_json, write_text
from harness.storage.checkpoint import NAME, LoadsWeights, advice, load_weights
from harness.types import Agent, SystemPrompt


def write_final_agent(agent: Agent, folder: Path) -> None:
    """Write the final agent: its prompt as text, and as data to be read back."""
    prompt = agent.prompt
    write_text(folder / "champion.txt", prompt.text)
    write_json(
        folder / "champion.json",
        {
            "briefing": prompt.briefing,
            "principles": list(prompt.principles),
            "policy_version": agent.policy_version,
        },
    )


def final_agent_of(folder: Path) -> Agent:
    """The final agent of a run that has one.

    Raises:
        RunError: It is missing, damaged, or not the agent that was evaluated on test.
    """
    path, then = folder / "champion.json", advice(folder)
    kept = cast(Mapping[str, Any], read_json(path, then))
    texts, version = (kept.get("briefing"), kept.get("principles")), kept.get("policy_version")
    if not (isinstance(texts[0], str) and _are_texts(texts[1]) and type(version) is int):
        raise RunError(f"{path} holds no prompt with its principles and policy version: {then}")
    agent = Agent(SystemPrompt(texts[0], tuple(cast(list[str], texts[1]))), version)
    opening = folder / "opening.json"
    if opening.exists():
        record = {"prompt": agent.prompt.id, "policy_version": agent.policy_version}
        tested = read_json(opening, then).get("agents")
        if not isinstance(tested, list) or record not in tested:
            raise RunError(
                f"{path} names another agent than the one that {opening} says was evaluated on "
                f"test: {then}"
            )
    return agent


def adapter_hash(folder: Path, agent: Agent) -> str:
    """Hash of the adapter; of the file with its location, for one that is stored elsewhere."""
    policy = folder / NAME / "policy"
    adapter = policy / "adapter.safetensors"
    if not adapter.exists():
        adapter = policy / "policy.json"
    return sha256(adapter.read_bytes()).hexdigest() if agent.policy_version else ""


def load_final_weights(policy: LoadsWeights, folder: Path, agent: Agent, expected: str) -> None:
    """Load the weights of a finished run's agent; `expected` is the adapter hash of its entry.

    Raises:
        RunError: They are missing, damaged, or others than those that were evaluated on test.
        ModelError: They are another model's, or cannot be read.
    """
    load_weights(policy, folder)
    check_final_weights(folder, agent, expected)
    if policy.version != agent.policy_version:
        raise RunError(
            f"{folder / NAME / 'policy'} holds weights of version {policy.version}, but the agent "
            f"was tested with version {agent.policy_version}: {advice(folder)}"
        )


def check_final_weights(folder: Path, agent: Agent, expected: str) -> None:
    """Compare the adapter with the hash in the run's entry.

    Raises:
        RunError: It is another.
    """
    if expected and adapter_hash(folder, agent) != expected:
        raise RunError(
            f"{folder / NAME / 'policy'} holds other weights than those that {folder}/entry.json "
            f"says were evaluated on test: {advice(folder)}"
        )


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)
