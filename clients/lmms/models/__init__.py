"""The models that `lmms-eval` gets, each in a file of its own name.

It finds them by the entry point that `manifest` answers; versions that look for plug-ins by
``LMMS_EVAL_PLUGINS=onlooker.clients.lmms`` alone read the list below.
"""

AVAILABLE_MODELS = {"onlooker": "OnlookerModel"}
