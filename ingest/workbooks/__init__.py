"""Secure-message workbooks: expansion into rows, and the receipt."""
