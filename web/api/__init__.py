"""The API for programs of the staff, ``/api/v1``: the verbs of tickets and tasks, and what there is to read."""
