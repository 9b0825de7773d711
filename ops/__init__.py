"""Looking after a running house: what must always be true, and every source held against the ledger."""
