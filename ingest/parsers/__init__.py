"""Parse untrusted bytes into frozen values.

The parsers are pure and run in processes with limits (:mod:`ingest.parser_pool`).
"""
