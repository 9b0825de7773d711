"""The domain: tickets, their stages, owners and deadlines."""
