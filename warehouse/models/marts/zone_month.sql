select
    months.month, months.zone_id, zones.zone_name, zones.borough,
    months.trips, months.timed_trips,
    {{ ratio('months.wait_s_sum', 'months.timed_trips') }} as wait_s_mean,
    {{ ratio('months.late_trips', 'months.timed_trips') }} as late_share,
    months.ratings,
    {{ ratio('months.stars', 'months.ratings') }} as stars_mean,
    months.low_ratings
from {{ ref('int_zone_months') }} as months
inner join {{ ref('stg_zones') }} as zones on months.zone_id = zones.zone_id
where months.trips > 0 or months.ratings > 0
