"""The HTTP API under ``/api/v1`` for programs that act for a member of staff: read and change tickets and follow-up tasks."""
