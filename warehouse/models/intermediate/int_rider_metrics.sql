{{ config(materialized='view') }}
-- A rider who was assigned and exposed, with the ratings that the rider gave since the first exposure.
with exposed as (
    select assigned.experiment, assigned.variant, assigned.rider_id, min(exposures.exposed_at) as exposed_at
    from {{ ref('stg_experiment_assignments') }} as assigned
    inner join {{ ref('stg_experiment_exposures') }} as exposures
        on assigned.experiment = exposures.experiment and assigned.rider_id = exposures.rider_id
    where exposures.exposed_at >= assigned.assigned_at
    group by assigned.experiment, assigned.variant, assigned.rider_id
)
select
    exposed.experiment, exposed.variant, exposed.rider_id,
    cast(count(ratings.rating_id) as {{ double() }}) as ratings_per_rider,
    avg(cast(ratings.stars as {{ double() }})) as stars_mean
from exposed
left join {{ ref('stg_ride_ratings') }} as ratings
    on exposed.rider_id = ratings.rider_id and ratings.created_at >= exposed.exposed_at
group by exposed.experiment, exposed.variant, exposed.rider_id
