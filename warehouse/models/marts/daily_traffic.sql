select
    day,
    cast(sum(requests) as bigint) as requests,
    cast(sum(errors_4xx) as bigint) as errors_4xx,
    cast(sum(errors_5xx) as bigint) as errors_5xx,
    {{ ratio('sum(errors_4xx + errors_5xx)', 'sum(requests)') }} as error_share,
    cast(sum(bytes) as bigint) as bytes
from {{ ref('stg_hourly_traffic') }}
group by day
