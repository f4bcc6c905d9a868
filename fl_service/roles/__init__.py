"""The processes (or pods) of a run: global aggregator, local aggregator, client and evaluator."""
