"""The ledger: accounts, what is posted on them, and the proof that all of it agrees."""

from rewards.ledger.check import check, summary

__all__ = ["check", "summary"]
