{% test within_bounds(model, limits) %}
select {{ limits | join(', ') }}
from {{ model }}
where 1 = 0
{%- for column, limit in limits.items() %}
    {%- if limit.minimum is defined %} or {{ column }} < {{ limit.minimum }}{% endif %}
    {%- if limit.maximum is defined %} or {{ column }} > {{ limit.maximum }}{% endif %}
{%- endfor %}
{% endtest %}
