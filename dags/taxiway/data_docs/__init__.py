"""The data-docs page: every table that a contract describes, whose it is, what it is made from, and how it fares."""
