"""The bank's core system: a little banking, and what it tells the product of it."""
