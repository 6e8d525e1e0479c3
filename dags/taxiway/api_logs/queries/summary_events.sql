-- The published events of some days by day, hour and channel, and how many of them arrived after their hour.
-- Parameters: the first and the last day, such as 2026-01-31.
SELECT
    year || '-' || month || '-' || day AS date,
    hour,
    coalesce(channel, '(none)') AS channel,
    count(*) AS events,
    count_if(
        regexp_extract(source_object, 'year=\d+/month=\d+/day=\d+/hour=\d+')
        <> 'year=' || year || '/month=' || month || '/day=' || day || '/hour=' || hour
    ) AS late
FROM api_events
WHERE year || '-' || month || '-' || day BETWEEN ? AND ?
GROUP BY 1, 2, 3
