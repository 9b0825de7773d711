"""Reads what the rules would decide, and writes nothing."""
