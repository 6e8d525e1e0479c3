-- Of each month, the trips of all zones are the accepted trips of the source.
with found as (select month, sum(trips) as trips from {{ ref('zone_month') }} group by month),
expected as (select month, sum(trips) as trips from {{ ref('stg_trend') }} group by month)
select expected.month, expected.trips, found.trips as found
from expected left join found on expected.month = found.month
where found.trips is null or found.trips <> expected.trips
