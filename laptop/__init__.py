"""The whole platform on one machine: starts it, runs the main job, shows the result, ends it."""
