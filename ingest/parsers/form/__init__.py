"""Parses Formstack submissions."""
