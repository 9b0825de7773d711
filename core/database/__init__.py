"""Sessions, the writer, engines, bulk writes and column types."""
