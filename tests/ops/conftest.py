"""Fixtures of the operations tests: those of the pipeline's tests, on both databases."""

from tests.ingest.conftest import make_harness, parser_pool, harness

__all__ = ["make_harness", "parser_pool", "harness"]
