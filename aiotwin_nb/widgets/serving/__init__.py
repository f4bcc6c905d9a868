"""The inference side in a notebook: services and their quality live, policies side by side, a lamp."""
