"""The survey after completion: who gets one, when, and what they answered."""
