"""Does somebody who asks for a ride get an answer, in time, and a right one?"""

from grafana_foundation_sdk.models import units

from monitoring.dashboards.build import GREEN, ORANGE, RED, Page, Query
from monitoring.dashboards.queries import counted, increase, per_second, percentile

STEP = "$__rate_interval"
STREAM, CONSUMER = 'scorer="stream"', 'scorer="consumer"'
LATENCY = "taxiway_eta_latency_seconds"
ALL = 'dimension="all"'


def share_within(limit: str, scorer: str) -> str:
    """Return the share of answers in the time shown that took no longer than a bound of the histogram (a pattern)."""
    fast = increase(f"{LATENCY}_bucket", scorer, f'le=~"{limit}"')
    return f"{fast} / ({increase(f'{LATENCY}_count', scorer)} > 0)"


def named(expr: str, of: str) -> str:
    """Return the series of an expression with the label ``of``, so that several metrics are one list."""
    return f'label_replace({expr}, "of", "{of}", "", "")'


page = Page(
    uid="taxiway-eta",
    title="Taxiway: arrival model",
    description="Does somebody who asks for a ride get an answer, in time, and a right one?",
    time="now-3h",
    variables=[],
)

page.row("Now")
page.stat(
    "Requests a second",
    "Requests that the stream reads from Kafka; each becomes a prediction or a rejected record.",
    Query(per_second("taxiway_eta_requests_total", STREAM), zero="max(taxiway_eta_stream_wanted)"),
    unit=units.RequestsPerSecond,
    decimals=1,
    graph=True,
)
page.stat(
    "Within 2 s, stream",
    "Share of the stream's answers that took at most 2 s from the request's arrival in Kafka; 99 % is the goal.",
    # Prometheus 3 writes the bound 2 as 2.0.
    Query(share_within("2|2[.]0", STREAM)),
    unit=units.PercentUnit,
    steps=((None, RED), (0.97, ORANGE), (0.99, GREEN)),
    decimals=2,
)
page.stat(
    "Within 0.1 s, scorer",
    "The same of the low-latency scorer: at most 0.1 s, for 99 % of its answers.",
    Query(share_within("0.1", CONSUMER)),
    unit=units.PercentUnit,
    steps=((None, RED), (0.97, ORANGE), (0.99, GREEN)),
    decimals=2,
)
page.stat(
    "Live error",
    "Mean absolute error of the predictions whose pick-up is known, over all companies and boroughs.",
    Query(f"max(taxiway_eta_live_mae_seconds{{{ALL}}})"),
    unit=units.Seconds,
    decimals=1,
    graph=True,
)
page.stat(
    "Drift",
    "The live error divided by the same model's error in its test month. An alert fires above 1.25.",
    Query(f"max(taxiway_eta_drift_ratio{{{ALL}}})"),
    unit=units.Short,
    steps=((None, GREEN), (1.1, ORANGE), (1.25, RED)),
    decimals=2,
)
page.stat(
    "Age of the model",
    "Time since the version was promoted that answers. Training follows each month's publication.",
    Query("max(taxiway_eta_model_age_seconds)"),
    unit=units.Seconds,
    steps=((None, GREEN), (35 * 86400, ORANGE), (45 * 86400, RED)),
    decimals=0,
)

page.row("Answers")
page.lines(
    "Requests and predictions",
    "A second, of both scorers. What is between the two lines was rejected, or waits.",
    Query(per_second("taxiway_eta_requests_total", by="scorer"), "requests, {{scorer}}"),
    Query(per_second("taxiway_eta_predictions_total", by="scorer"), "predictions, {{scorer}}"),
    unit=units.RequestsPerSecond,
)
page.lines(
    "Latency",
    "From a request's arrival in Kafka to its prediction, interpolated within the histogram's bounds.",
    Query(percentile(0.5, LATENCY, by="scorer", window=STEP), "p50, {{scorer}}"),
    Query(percentile(0.99, LATENCY, by="scorer", window=STEP), "p99, {{scorer}}"),
    unit=units.Seconds,
)
page.lines(
    "Lag",
    "Records in Kafka that are not read yet. An alert fires above 10,000.",
    Query("max by (scorer) (taxiway_eta_lag_records)", "{{scorer}}"),
    unit=units.Short,
    size=(8, 8),
)
page.lines(
    "Micro-batches",
    "How long the stream's batches take. Their length bounds how fast an answer can be.",
    Query(percentile(0.5, "taxiway_eta_batch_seconds", window=STEP), "p50"),
    Query(percentile(0.99, "taxiway_eta_batch_seconds", window=STEP), "p99"),
    unit=units.Seconds,
    size=(8, 8),
)
page.lines(
    "Records of a batch",
    "Records of the last micro-batch; bounded by TAXIWAY_ETA_MAX_OFFSETS.",
    Query("max(taxiway_eta_batch_rows)", "records"),
    unit=units.Short,
    size=(8, 8),
)

page.row("Right answers")
page.lines(
    "Error so far",
    "Mean absolute error of predictions whose pick-up is known, over all and by company.",
    Query('taxiway_eta_live_mae_seconds{dimension=~"all|company"}', "{{name}}"),
    unit=units.Seconds,
)
page.lines(
    "Within the 90th percentile",
    "Share of the waits within the predicted 90th percentile; 0.9 is right. An alert fires below 0.85 over all.",
    Query('taxiway_eta_within_p90_ratio{dimension=~"all|company"}', "{{name}}"),
    unit=units.PercentUnit,
    highest=1,
    steps=((None, "transparent"), (0.9, GREEN)),
)
page.ranking(
    "Error by borough",
    "Mean absolute error by the borough of the pick-up.",
    Query('sort_desc(taxiway_eta_live_mae_seconds{dimension="borough"})', "{{name}}"),
    unit=units.Seconds,
)
page.ranking(
    "Drift by company and borough",
    "The live error divided by the model's error in its test month. An alert fires above 1.5.",
    Query('sort_desc(taxiway_eta_drift_ratio{dimension!="all"})', "{{name}}"),
    unit=units.Short,
    steps=((None, GREEN), (1.25, ORANGE), (1.5, RED)),
)

page.row("Demand, rejects and models")
page.ranking(
    "Demand now",
    "The ten zones with the most requests in the last complete window of five minutes.",
    Query("sort_desc(topk(10, taxiway_eta_demand_requests))", "zone {{zone}}"),
    unit=units.Short,
    size=(8, 8),
)
page.ranking(
    "Rejected by reason",
    "Requests, of both scorers, and pick-ups that were set aside in the topic eta_rejected in the time shown.",
    Query(
        "sort_desc("
        + named(counted("taxiway_eta_rejected_total", by="reason"), "requests")
        + " or "
        + named(counted("taxiway_eta_rejected_pickups_total", by="reason"), "pick-ups")
        + ")",
        "{{of}}: {{reason}}",
    ),
    unit=units.Short,
    steps=((None, ORANGE),),
    size=(8, 8),
)
page.bars(
    "Models",
    "Trained versions by what the gate said, and promoted ones that a scorer refused.",
    Query(counted("taxiway_eta_gate_total", by="outcome", window=STEP), "{{outcome}}"),
    Query(counted("taxiway_eta_model_refused_total", by="scorer", window=STEP), "not taken up by the {{scorer}}"),
    unit=units.Short,
    size=(8, 8),
)
page.lines(
    "Error in the test month",
    "Of the last trained version, beside the median by zone and hour that it has to beat.",
    Query("max(taxiway_eta_candidate_mae_seconds)", "model"),
    Query("max(taxiway_eta_baseline_mae_seconds)", "median by zone and hour"),
    unit=units.Seconds,
    size=(8, 8),
)
page.lines(
    "Time of training",
    "How long the last training took.",
    Query("max(taxiway_eta_training_seconds)", "training"),
    unit=units.Seconds,
    size=(8, 8),
)
page.bars(
    "Scoring job started",
    "How often eta_stream has started it: for new code, or after it ended.",
    Query(counted("taxiway_eta_stream_restarts_total", window=STEP), "starts"),
    unit=units.Short,
    size=(8, 8),
)
