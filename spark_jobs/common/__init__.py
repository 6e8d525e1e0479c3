"""What the pipelines' programs share: months, the session, tables of the lake, how a program ends."""
