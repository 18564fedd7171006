"""Read published entries, and print the best row of each leaderboard with its interval.

Call it as: python read_results.py leaderboards/results
"""

import sys
from pathlib import Path

from leaderboards.boards.rank import boards
from leaderboards.records.store import find_entries

found = find_entries([Path(sys.argv[1])])
for board in boards(found.entries):
    row = board.rows[0]
    interval = row.seed_estimate.interval
    ends = f"[{interval.low:.3f}, {interval.high:.3f}]" if interval else "no interval"
    print(f"{board.track.env}, {board.track.budget_episodes:,} episodes: {row.label}", end=" ")
    print(f"{row.score:.3f} {ends} over {len(row.scores)} seeds")
