"""The only code that knows vLLM."""
