"""A server as a model of `lmms-eval`: ``lmms_eval --model onlooker``, where both are installed."""
