"""Buckets of histograms that several metrics share."""

LATENCY_BUCKETS_S = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Buckets from a cached token to an answer that nobody waits for any more; dense where targets
usually lie."""

STEP_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Buckets for the decoding of one picture, and for one gap between tokens."""

SLACK_BUCKETS_S = (-10.0, -2.5, -1.0, -0.5, -0.1, 0.0, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Buckets for the time left until a deadline, negative once it has passed."""
