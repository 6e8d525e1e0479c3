"""The protocols of AWS's APIs over WSGI: what a service needs to be called by the SDKs, and nothing of any service."""
