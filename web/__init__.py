"""HTTP: hooks, health, metrics and pages."""
