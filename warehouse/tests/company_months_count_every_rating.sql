with found as (select month, sum(ratings) as ratings from {{ ref('company_month') }} group by month),
expected as (select month, count(*) as ratings from {{ ref('stg_ride_ratings') }} group by month)
select found.month, expected.ratings, found.ratings as found
from found left join expected on found.month = expected.month
where found.ratings <> coalesce(expected.ratings, 0)
