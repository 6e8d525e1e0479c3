"""The warehouse: raw tables from files and from a service's database, summaries of them, and what goes back."""
