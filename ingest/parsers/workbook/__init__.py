"""Parses secure-message workbooks."""
