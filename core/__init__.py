"""Parts that know nothing of tickets: settings, database, clock, leases, claims, blobs, signing, tokens, logs, metrics."""
