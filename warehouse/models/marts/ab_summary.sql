{% set z = '1.959963984540054e0' %}  {# 97.5th percentile of the normal distribution #}
with assigned as (
    select experiment,
        sum(case when variant = 'control' then 1 else 0 end) as control_assigned,
        sum(case when variant = 'treatment' then 1 else 0 end) as treatment_assigned
    from {{ ref('stg_experiment_assignments') }}
    group by experiment
),
metrics as (
    select experiment, variant, cast('stars_mean' as varchar) as metric, stars_mean as metric_value
    from {{ ref('int_rider_metrics') }} where stars_mean is not null
    union all
    select experiment, variant, cast('ratings_per_rider' as varchar) as metric, ratings_per_rider as metric_value
    from {{ ref('int_rider_metrics') }}
),
variants as (
    select experiment, metric, variant, count(*) as riders, avg(metric_value) as mean, var_samp(metric_value) as variance
    from metrics
    group by experiment, metric, variant
),
pairs as (
    select
        experiment, metric,
        max(case when variant = 'control' then riders else 0 end) as control_riders,
        max(case when variant = 'treatment' then riders else 0 end) as treatment_riders,
        max(case when variant = 'control' then mean end) as control_mean,
        max(case when variant = 'treatment' then mean end) as treatment_mean,
        sqrt(
            max(case when variant = 'control' then variance / riders end)
            + max(case when variant = 'treatment' then variance / riders end)
        ) as standard_error
    from variants
    group by experiment, metric
)
select
    pairs.experiment, pairs.metric,
    cast(assigned.control_assigned as bigint) as control_assigned,
    cast(assigned.treatment_assigned as bigint) as treatment_assigned,
    cast(pairs.control_riders as bigint) as control_riders,
    cast(pairs.treatment_riders as bigint) as treatment_riders,
    pairs.control_mean, pairs.treatment_mean,
    pairs.treatment_mean - pairs.control_mean as lift,
    pairs.treatment_mean - pairs.control_mean - {{ z }} * pairs.standard_error as lift_low,
    pairs.treatment_mean - pairs.control_mean + {{ z }} * pairs.standard_error as lift_high,
    (pairs.treatment_mean - pairs.control_mean) / nullif(pairs.control_mean, 0) as lift_share
from pairs
inner join assigned on pairs.experiment = assigned.experiment
