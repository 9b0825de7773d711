"""What arrives: ledger, parsing, classification, pipeline."""
