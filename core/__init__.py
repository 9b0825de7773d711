"""What knows nothing of tickets: settings, database, clock, leases, hints, blobs, signing."""
