"""OAuth access tokens for signing in to IMAP and SMTP."""
