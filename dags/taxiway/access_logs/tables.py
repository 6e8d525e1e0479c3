"""The tables of the access-log pipeline; their columns are defined in ``contracts/access_logs/``."""

from functools import partial

from taxiway.lake.tables import Table, TableSet

_table = partial(Table, "access_logs")

ACCESS_FILE = _table("access_file")  # what servers deliver: the raw files
REQUESTS = _table("access_requests")
QUARANTINE = _table("access_requests_quarantine")
HOURLY_TRAFFIC = _table("hourly_traffic")
TOP_RESOURCES = _table("top_resources")
STATUS_BY_PATH = _table("status_by_path")
SUSPICIOUS_CLIENTS = _table("suspicious_clients")
SESSIONS = _table("sessions")

TABLES = TableSet("access_logs")
