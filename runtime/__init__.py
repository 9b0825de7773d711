"""How one process works: broker, drain requests and priority, wake-ups, concurrency, scheduler, single-instance lock."""
