"""AWS on one machine: moto, an EMR that really runs its steps, and an Athena that really runs its queries.

A part imports only from parts to its left in this line, and never from one that it shares a place with:

    database, protocols, execution ← engines, moto_backend ← context ← athena, emr ← services, server ← __main__
"""
