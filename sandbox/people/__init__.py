"""A population that plays a running sandbox and the product beside it."""
