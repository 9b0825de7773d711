"""Operations: production invariants, and the comparison of every source with the ledger."""
