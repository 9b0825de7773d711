"""Pure decisions about parsed items: no database, no network."""
