"""exit: ends the run, with the block's text as the reason."""

from __future__ import annotations

from campaigns.engine.verbs.verb import Move, Verb


def _move(reason: str, _: float) -> Move:
    return Move("exit", exit=reason)


EXIT = Verb(name="exit", model=str, move=_move)
