"""The ledger: accounts, what is posted on them, and the proof that all of it agrees."""

from rewards.ledger.chart import kind_of
from rewards.ledger.check import Progress, check, summary

__all__ = ["Progress", "check", "kind_of", "summary"]
