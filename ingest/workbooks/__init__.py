"""Workbooks: expand their rows into items, and write receipts."""
