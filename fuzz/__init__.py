"""Coverage-guided fuzzers, one target a parser; run by scripts/fuzz.sh, outside the tests."""
