"""Code shared by the pipelines' programs: arguments, the session, tables of the lake, exit status."""
