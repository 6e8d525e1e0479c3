"""The error that is meant for a person."""


class UserError(Exception):
    """What was asked cannot be done; the text says what is wrong and what to do. It is shown without a traceback."""
