"""Airflow on Kubernetes: brings the platform to a cluster, follows it there, and says what is wrong when it is."""
