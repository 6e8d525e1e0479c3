-- A rating belongs to the month of its ride, which is New York's, as that of the trips.
select
    rating_id, rider_id, company, pickup_zone_id as zone_id, stars, requested_at, created_at,
    substring(cast(requested_at as varchar), 1, 7) as month
from {{ source('warehouse', 'ride_ratings') }}
where deleted_at is null
