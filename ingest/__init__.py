"""Ingest: sources, ledger, parsers, decisions and the pipeline that turns items into tickets."""
