"""Where a run happens: implementations of the Runtime protocol."""
