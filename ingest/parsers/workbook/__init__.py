"""Parse secure-message workbooks."""
