"""What goes out: facts become deliveries, deliveries become mail."""
