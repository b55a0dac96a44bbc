"""The whole platform on one machine: Redis, API, workers and beat, started and supervised in the foreground."""
