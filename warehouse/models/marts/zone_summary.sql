with numbered as (
    select *, {{ month_number('month') }} as month_number,
        row_number() over (partition by zone_id order by month desc) as age
    from {{ ref('zone_month') }}
)
select
    newest.zone_id, newest.zone_name, newest.borough, newest.month, newest.trips, newest.timed_trips,
    newest.wait_s_mean, newest.late_share, newest.ratings, newest.stars_mean, newest.low_ratings,
    nullif(previous.trips, 0) as previous_trips
from numbered as newest
left join numbered as previous
    on newest.zone_id = previous.zone_id and newest.month_number = previous.month_number + 1
where newest.age = 1
