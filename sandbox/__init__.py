"""A simulated WeChat and WeCom with people in it, for development, tests and demonstrations."""
