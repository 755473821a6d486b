"""Vouchers: what a customer was granted, shows at a counter, and has written off there."""
