"""WeChat and WeCom: clients, shared access tokens, callback crypto and typed events."""
