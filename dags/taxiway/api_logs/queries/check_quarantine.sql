-- The quarantined records of each arrival hour of a run, before they are published.
-- Parameter: the time of the run's plan.
SELECT
    year || '-' || month || '-' || day || '-' || hour AS arrival,
    reject_reason,
    count(*) AS records
FROM api_events_quarantine_candidate
WHERE plan = ?
GROUP BY 1, 2
