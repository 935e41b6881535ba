"""Questions that need the past as a whole, answered from the diary and checked against clips."""
