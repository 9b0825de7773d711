"""Parse Formstack submissions."""
