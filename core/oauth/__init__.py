"""OAuth access tokens for IMAP and SMTP."""
