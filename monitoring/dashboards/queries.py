"""The few forms of PromQL that the pages are made of.

Counters are summed as whole numbers: ``increase`` stretches what it saw over the window's edges, and 24 runs would read
24.3. A timer is a histogram: its mean is exact, a percentile is interpolated between the bounds of its buckets
(helm/airflow/base.yaml).
"""


def selector(metric: str, *matchers: str) -> str:
    """Return ``metric{matchers}``."""
    return f"{metric}{{{','.join(matchers)}}}" if matchers else metric


def increase(metric: str, *matchers: str, by: str = "", window: str = "$__range") -> str:
    """Return by how much counters rose in a window, added up by labels."""
    return f"{_of('sum', by)}(increase({selector(metric, *matchers)}[{window}]))"


def counted(metric: str, *matchers: str, by: str = "", window: str = "$__range") -> str:
    """Return how often something happened, as a whole number."""
    return f"round({increase(metric, *matchers, by=by, window=window)})"


def mean(timer: str, *matchers: str, by: str = "", window: str = "$__range") -> str:
    """Return the mean of what a timer measured in a window; nothing where it measured nothing."""
    total = increase(f"{timer}_sum", *matchers, by=by, window=window)
    return f"{total} / ({increase(f'{timer}_count', *matchers, by=by, window=window)} > 0)"


def percentile(part: float, timer: str, *matchers: str, by: str = "", window: str = "$__range") -> str:
    """Return a percentile of what a timer measured in a window; nothing where it measured nothing."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({part}, {increase(f'{timer}_bucket', *matchers, by=labels, window=window)}) >= 0"


def per_second(metric: str, *matchers: str, by: str = "", window: str = "$__rate_interval") -> str:
    """Return a counter's rate, added up by labels."""
    return f"{_of('sum', by)}(rate({selector(metric, *matchers)}[{window}]))"


def share(part: str, rest: str) -> str:
    """Return ``part / (part + rest)``, where either may have no series, and both have the same labels."""
    part, rest = f"({part})", f"({rest})"
    every_part, every_rest = f"({part} or 0 * {rest})", f"({rest} or 0 * {part})"
    return f"{every_part} / ({every_part} + {every_rest} > 0)"


def _of(operation: str, by: str) -> str:
    return f"{operation} by ({by}) " if by else operation
