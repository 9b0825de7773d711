"""Compares each source with the ledger."""
