-- Each hour of events that a run has built, before it is published: its records, and those that break a rule.
-- Parameter: the time of the run's plan.
SELECT
    year || '-' || month || '-' || day || '-' || hour AS hour_of_events,
    count(*) AS records,
    count(DISTINCT event_id) AS ids,
    count_if(event_id IS NULL OR occurred_at IS NULL) AS without_key,
    count_if(date_format(occurred_at, '%Y-%m-%d-%H') <> year || '-' || month || '-' || day || '-' || hour) AS outside
FROM api_events_candidate
WHERE plan = ?
GROUP BY 1
