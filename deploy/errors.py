"""What the commands can fail with; each text is shown to the operator as it is."""

from __future__ import annotations


class DeployError(Exception):
    """A plain sentence: what is wrong and what to do about it."""
