"""The orchestrator as a service: runs are started, stopped and watched over HTTP, as scripts of the original do."""
