{{ config(
    materialized='incremental', incremental_strategy=month_strategy(), unique_key='month', on_schema_change='fail',
    partitioned_by=['month'], full_refresh=(none if var('months') else true)
) }}
with trend as (
    select * from {{ ref('stg_trend') }} where {{ in_months('month') }}
),
ratings as (
    select month, company, count(*) as ratings, sum(stars) as stars,
        sum(case when stars <= 2 then 1 else 0 end) as low_ratings
    from {{ ref('stg_ride_ratings') }}
    where month in (select month from trend)
    group by month, company
),
companies as (
    select month, company from trend
    union
    select month, company from ratings
)
select
    companies.company,
    cast(coalesce(trend.trips, 0) as bigint) as trips,
    cast(coalesce(trend.trip_share, 0) as {{ double() }}) as trip_share,
    trend.fare_revenue,
    trend.driver_pay,
    trend.wait_s_mean,
    trend.wait_s_p50,
    trend.wait_s_p90,
    cast(coalesce(ratings.ratings, 0) as bigint) as ratings,
    cast(coalesce(ratings.stars, 0) as bigint) as stars,
    cast(coalesce(ratings.low_ratings, 0) as bigint) as low_ratings,
    companies.month
from companies
left join trend on companies.month = trend.month and companies.company = trend.company
left join ratings on companies.month = ratings.month and companies.company = ratings.company
