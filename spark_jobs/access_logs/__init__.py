"""Access logs of web servers, in the common and the combined format: a UTC day at a time."""
