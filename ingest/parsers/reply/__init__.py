"""Split a mail body into reply, quote and signature."""
