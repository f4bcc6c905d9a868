"""Benchmarks of the decisions: a seeded population of scenarios, both branches of each, every policy scored."""
