"""A server as a model of `lmms-eval`: ``LMMS_EVAL_PLUGINS=onlooker.clients.lmms``."""
