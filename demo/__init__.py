"""Sample data: a sample world (staff, practices, contacts, teams) and sample inputs (mail, forms, a workbook)."""

from demo.configuration import render_settings

__all__ = ["render_settings"]
