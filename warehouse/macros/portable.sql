{# What the three SQL dialects have no common word for. #}

{% macro double() %}{{ 'double precision' if target.type == 'redshift' else 'double' }}{% endmacro %}

{# The number of a calendar month 'YYYY-MM', one more than that of the month before. #}
{% macro month_number(month) -%}
(cast(substring({{ month }}, 1, 4) as int) * 12 + cast(substring({{ month }}, 6, 2) as int))
{%- endmacro %}

{# a / b as a double; null where b is 0. #}
{% macro ratio(a, b) -%}
cast({{ a }} as {{ double() }}) / nullif(cast({{ b }} as {{ double() }}), 0)
{%- endmacro %}

{# The condition of an incremental model by month: the months of the variable `months`, or all. #}
{% macro in_months(month) -%}
{% if var('months') and is_incremental() %}{{ month }} in ('{{ var('months') | join("', '") }}'){% else %}1 = 1{% endif %}
{%- endmacro %}

{# How a month is replaced as a whole. #}
{% macro month_strategy() %}{{ return('insert_overwrite' if target.type == 'athena' else 'delete+insert') }}{% endmacro %}
