"""The `casemill` command."""
