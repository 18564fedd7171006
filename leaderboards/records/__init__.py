"""Records of runs: tracks, entries, strict reading, migrations, files."""
