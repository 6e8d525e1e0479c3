"""Plays the city: real requests for rides in their order, as events to Kafka, each followed by its pick-up."""
