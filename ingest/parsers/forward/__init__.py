"""Finds the original message in a forward."""
