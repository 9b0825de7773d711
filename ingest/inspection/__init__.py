"""Inspection: what the rules would decide, without writing anything."""
