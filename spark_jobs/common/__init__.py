"""What the pipelines' programs share: arguments, the session, tables of the lake, how a program ends."""
