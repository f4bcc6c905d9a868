"""The inference side: services answer with a learned model, proxies keep their quality, drops start learning again."""
