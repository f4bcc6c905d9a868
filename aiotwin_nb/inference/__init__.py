"""The inference side: services answer with a learned model, proxies keep their quality, a drop starts learning again."""
