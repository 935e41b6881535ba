"""What tenants may have and do, what they have and did, and what servers of a fleet tell of it."""
