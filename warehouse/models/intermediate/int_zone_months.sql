{{ config(
    materialized='incremental', incremental_strategy=month_strategy(), unique_key='month', on_schema_change='fail',
    partitioned_by=['month'], full_refresh=(none if var('months') else true)
) }}
-- Every zone has a row in every month with published trips, so that a month that lost its last rating is replaced too.
with months as (
    select distinct month from {{ ref('stg_trend') }} where {{ in_months('month') }}
),
trips as (
    select month, zone_id, sum(trips) as trips
    from {{ ref('stg_popular_zones') }} where {{ in_months('month') }}
    group by month, zone_id
),
waits as (
    select month, zone_id, sum(timed_trips) as timed_trips, sum(wait_s_mean * timed_trips) as wait_s_sum,
        sum(late_trips) as late_trips
    from {{ ref('stg_service_quality') }} where {{ in_months('month') }}
    group by month, zone_id
),
ratings as (
    select month, zone_id, count(*) as ratings, sum(stars) as stars,
        sum(case when stars <= 2 then 1 else 0 end) as low_ratings
    from {{ ref('stg_ride_ratings') }} where {{ in_months('month') }}
    group by month, zone_id
)
select
    zones.zone_id,
    cast(coalesce(trips.trips, 0) as bigint) as trips,
    cast(coalesce(waits.timed_trips, 0) as bigint) as timed_trips,
    cast(coalesce(waits.wait_s_sum, 0) as {{ double() }}) as wait_s_sum,
    cast(coalesce(waits.late_trips, 0) as bigint) as late_trips,
    cast(coalesce(ratings.ratings, 0) as bigint) as ratings,
    cast(coalesce(ratings.stars, 0) as bigint) as stars,
    cast(coalesce(ratings.low_ratings, 0) as bigint) as low_ratings,
    months.month
from months
cross join {{ ref('stg_zones') }} as zones
left join trips on months.month = trips.month and zones.zone_id = trips.zone_id
left join waits on months.month = waits.month and zones.zone_id = waits.zone_id
left join ratings on months.month = ratings.month and zones.zone_id = ratings.zone_id
