"""Satisfaction surveys: whether a completed ticket gets one, when it is sent, and the answers."""
