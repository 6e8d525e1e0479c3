"""The access-log pipeline: from the log files of a UTC day to its published requests, traffic and sessions."""
