"""Companies, contacts, staff, teams, and the tokens of programs."""
