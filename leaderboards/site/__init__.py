"""The static site: boards, plots, run pages. One folder, no server, nothing fetched from anywhere.

Every text in it is escaped, no script is inline, and it refuses to write over a folder that is not
a site. It knows of runs only what it is given as plain values (`RunLog`).
"""

from leaderboards.site.build import SiteSummary, build_site
from leaderboards.site.log import Attempt, Lived, LoggedRun, RunLog

__all__ = ["Attempt", "Lived", "LoggedRun", "RunLog", "SiteSummary", "build_site"]
