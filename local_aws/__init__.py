"""AWS on one machine: moto, and an EMR that really runs the steps it is given.

A part imports only from parts to its left in this line, and never from one that it shares a place with:

    database, protocols, execution ← engines, moto_backend ← context ← emr ← services, server ← __main__
"""
