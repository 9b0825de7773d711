"""The status page: what arrived, what waits, recent tickets and the state of mailboxes and checks."""
