# Included by the Makefile at the root.
.PHONY: train-demo eval-demo
train-demo: setup ## Train the demo model from nothing (3 h on 2 CPU cores, minutes on a GPU; resumes)
	@$(PY) -m onlooker.demo_model.train $(ARGS)

eval-demo: setup ## Evaluate the shipped demo model through vLLM on held-out worlds (under 15 minutes)
	@$(TEST_ENV) $(PY) -m onlooker.demo_model.evaluate $(ARGS)

.PHONY: recall-demo
recall-demo: setup ## How well questions find their evidence among an hour of clips
	@$(TEST_ENV) $(PY) -m onlooker.demo_model.recall $(ARGS)
