"""Who is who: companies, contacts, staff, teams."""
