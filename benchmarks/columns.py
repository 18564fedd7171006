"""Time of batched products over part of a KV cache, and over a cache with just these columns.

    python benchmarks/columns.py [--rows 80] [--heads 4] [--channels 32]

Prints CPU microseconds of one token's attention for every row and head (scores, softmax, mixing):
the least of nine measurements. Why
`harness/policies/hf/fast_llama/kv_cache.py` grows its tables in small steps and multiplies them
whole.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor

LAYERS, REPEATS = 5, 9


def cost(query: Tensor, columns: int, capacity: int) -> float:
    """Microseconds; one layer after the other, so that no table is still in the cache."""
    shape = (len(query), capacity, query.shape[-1])
    tables = [(torch.randn(shape), torch.randn(shape)) for _ in range(LAYERS)]
    nothing = query.new_zeros(1, 1, 1)
    found = []
    for _ in range(REPEATS + 1):
        start = time.process_time()
        for keys, values in tables * 4:
            part = keys[:, :columns].transpose(1, 2)
            weights = torch.baddbmm(nothing, query, part, beta=0).softmax(-1)
            torch.bmm(weights, values[:, :columns])
        found.append((time.process_time() - start) / (4 * LAYERS) * 1e6)
    return min(found[1:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=80)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--channels", type=int, default=32)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    query = torch.randn(asked.rows * asked.heads, 1, asked.channels)
    with torch.inference_mode():
        for columns in (16, 32, 48, 64):
            of_more, whole = cost(query, columns, columns + 8), cost(query, columns, columns)
            figures = (
                f"{of_more:6.0f} in a table of {columns + 8}, {whole:6.0f} in one of {columns}"
            )
            print(f"{columns} columns: {figures}")


if __name__ == "__main__":
    main()
