"""What vLLM loads by name: plug-in, connector, scheduler, worker extension and model classes."""
