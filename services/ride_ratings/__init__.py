"""The database of a ride service: ratings of rides, and an experiment; made, and changed, as a service would.

It is what the warehouse loads incrementally, in MySQL or SQLite; see services/README.md.
"""
