{% snapshot orders_history %}
{{ config(target_schema='dbt', unique_key='id', strategy='check', check_cols=['amount']) }}
select id, amount from {{ ref('orders') }}
{% endsnapshot %}
