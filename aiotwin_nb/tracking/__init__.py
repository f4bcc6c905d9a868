"""W&B: one writer in the orchestrator, live readers in notebooks."""
