"""Pure parsers: bytes in, a frozen value out. They run in limited child processes."""
