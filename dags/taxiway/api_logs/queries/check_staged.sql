-- The accepted records that the hours of events of a run are built from.
-- Parameter: the time of the run's plan.
SELECT
    year || '-' || month || '-' || day || '-' || hour AS arrival,
    event_year || '-' || event_month || '-' || event_day || '-' || event_hour AS event,
    count(*) AS records
FROM api_events_staged_candidate
WHERE plan = ?
GROUP BY 1, 2
