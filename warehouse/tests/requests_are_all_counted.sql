select found.requests, found.expected
from (
    select
        (select coalesce(sum(requests), 0) from {{ ref('daily_traffic') }}) as requests,
        (select coalesce(sum(requests), 0) from {{ ref('stg_hourly_traffic') }}) as expected
) as found
where found.requests <> found.expected
