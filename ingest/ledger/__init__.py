"""What arrived: inbound items, where they were seen, and what became of them."""
