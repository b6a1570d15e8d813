"""Shows reports: as a table in the terminal, as a page, as charts and as CSV."""
