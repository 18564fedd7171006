"""Records of runs: Tracks, entries, strict reading, migrations, files."""
