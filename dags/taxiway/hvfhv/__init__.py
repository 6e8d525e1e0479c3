"""The main pipeline: New York's ride-hailing trips (TLC's HVFHV), collected, analysed on Spark, published by month."""
