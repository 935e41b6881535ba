"""A worker without a model, on a device that is pretended: what the processor has to do for it."""
