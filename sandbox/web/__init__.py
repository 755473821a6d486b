"""The visitor's page, WeCom's sign-in page and the pictures of live codes."""
