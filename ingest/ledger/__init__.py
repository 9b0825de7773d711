"""The ledger of inbound items: accept, claim, hand off, settle, quarantine and query."""
