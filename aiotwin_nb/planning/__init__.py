"""What to run: configurations, their costs, and the strategies that choose them (pure)."""
