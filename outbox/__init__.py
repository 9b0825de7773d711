"""The outbox: facts about what happened, written in the transaction in which it happened, and the relay to their handlers."""
