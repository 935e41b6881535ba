"""The table of all metrics, by what they tell of; `onlooker.core.metrics.Metrics` has them all."""
