"""The arrival model's services: the low-latency scorer, and the live table and page."""
