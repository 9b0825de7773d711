"""Parses one mail: headers, structure, body, attachments."""
