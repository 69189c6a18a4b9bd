"""What issue 3 must reach: our files against MLPerf's own, against bounds, and against the tools' own defaults."""
