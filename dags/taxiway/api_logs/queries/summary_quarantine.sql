-- The quarantined records of some days of arrival by day and reason.
-- Parameters: the first and the last day, such as 2026-01-31.
SELECT
    year || '-' || month || '-' || day AS date,
    reject_reason,
    count(*) AS records
FROM api_events_quarantine
WHERE year || '-' || month || '-' || day BETWEEN ? AND ?
GROUP BY 1, 2
