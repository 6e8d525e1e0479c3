"""AWS on one machine: moto, an EMR and an EMR Serverless that really run the programs they are given.

A part imports only from parts to its left in this line, and never from one that it shares a place with:

    database, protocols, execution ← engines, moto_backend ← context ← emr ← emr_serverless
    ← services, server ← __main__
"""
