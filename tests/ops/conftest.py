"""Fixtures of the operations tests: those of the pipeline's tests, on both databases."""

from tests.ingest.conftest import make_room, parser_pool, room

__all__ = ["make_room", "parser_pool", "room"]
