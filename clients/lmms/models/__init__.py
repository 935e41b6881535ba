"""What `lmms-eval` looks for in a plug-in: its models, each in a file of its own name."""

AVAILABLE_MODELS = {"onlooker": "OnlookerModel"}
