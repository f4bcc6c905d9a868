"""Which K3s cluster: providers by name (none is built in yet)."""
