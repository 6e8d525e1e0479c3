select
    month, company, trips, trip_share, fare_revenue, driver_pay, wait_s_mean, wait_s_p50, wait_s_p90, ratings,
    {{ ratio('stars', 'ratings') }} as stars_mean,
    low_ratings
from {{ ref('int_company_months') }}
