"""Fixtures of the operations tests: those of the pipeline's tests, on both databases."""

from tests.ingest.conftest import harness, make_harness, parser_pool

__all__ = ["harness", "make_harness", "parser_pool"]
