"""The IMAP source: one watcher a mailbox."""
