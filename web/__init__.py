"""HTTP: webhooks, the API, health checks, metrics and pages."""
