"""HTTP proxies of the user: for downloads, never between two processes of this machine."""

from collections.abc import Mapping

LOOPBACK = ("127.0.0.1", "localhost", "::1")
VARIABLES = ("http_proxy", "https_proxy", "all_proxy")


def without_loopback(environment: Mapping[str, str]) -> dict[str, str]:
    """Return ``NO_PROXY``, in both spellings that programs read, with what the user has in it and loopback.

    Args:
        environment: the variables of the user.
    """
    named = ",".join(environment.get(name, "") for name in ("no_proxy", "NO_PROXY"))
    hosts = [host.strip() for host in named.split(",") if host.strip()]
    # Programs know the asterisk only where it stands alone.
    value = "*" if "*" in hosts else ",".join(dict.fromkeys([*hosts, *LOOPBACK]))
    return {"NO_PROXY": value, "no_proxy": value}


def is_socks(name: str, value: str) -> bool:
    """Return whether a variable names a SOCKS proxy, which Airflow's HTTP client refuses to start with."""
    return name.lower() in VARIABLES and value.lower().startswith("socks")
