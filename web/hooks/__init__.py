"""Webhooks: requests with which other services deliver submissions."""
