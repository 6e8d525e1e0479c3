{{ config(materialized='incremental', incremental_strategy='insert_overwrite', partitioned_by=['day'], format='parquet') }}
select count(*) as orders, day from {{ ref('orders') }}
{% if is_incremental() %} where day > date '2024-01-01' {% endif %}
group by day
