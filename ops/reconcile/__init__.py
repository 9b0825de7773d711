"""Compare each source with the ledger."""
