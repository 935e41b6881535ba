"""vLLM's scheduler process: what each step loads, saves and serves."""
