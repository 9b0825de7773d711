"""Production invariants: checks, their counts, and alerts."""
