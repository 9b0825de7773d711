"""Coverage-guided fuzzers, one target per parser. scripts/fuzz.sh runs them, outside the tests."""
