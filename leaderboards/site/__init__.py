"""The static site: leaderboards, plots, run pages; one folder, no server, nothing fetched.

Every text is escaped, no script is inline, and a folder that is not a site is never overwritten.
Logs of runs are passed in as plain values (`RunLog`).
"""

from leaderboards.site.build import SiteSummary, build_site
from leaderboards.site.log import EpisodeLog, PopulationMember, RoundLog, RunLog

__all__ = ["EpisodeLog", "PopulationMember", "RoundLog", "RunLog", "SiteSummary", "build_site"]
