"""Find the original message in a forwarded mail."""
