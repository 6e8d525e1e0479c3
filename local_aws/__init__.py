"""AWS on one machine: moto, and an EMR, an EMR Serverless and an Athena that really run what they are given.

A part imports only from parts to its left in this line, and never from one that it shares a place with:

    database, protocols, execution ← engines, moto_backend ← context ← athena, emr ← emr_serverless
    ← services, server ← __main__, pytest_plugin
"""
