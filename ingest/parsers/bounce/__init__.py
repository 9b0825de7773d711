"""Reads delivery reports, complaints and read receipts."""
