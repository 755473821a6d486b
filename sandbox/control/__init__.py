"""The control plane: what tests and visitors do to the simulation; no part of WeChat."""
