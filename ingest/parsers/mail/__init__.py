"""Parse one mail: headers, MIME structure, body and attachments."""
