"""The states that a document's codes and links carry, by which WeCom tells us how somebody came."""

from __future__ import annotations

from collections.abc import Mapping

from campaigns.document.model import Campaign, Codes, Links


def states_of(
    parts: Mapping[str, Codes] | Mapping[str, Links], branches: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """code group → branch → the state that its live code or link carries; the branch of a link of
    members is empty."""
    found: dict[str, dict[str, str]] = {}
    for name, part in parts.items():
        wanted = branches if part.branches == "all" else part.branches
        found[name] = (
            {"": name} if wanted is None else {branch: f"{name}.{branch}" for branch in wanted}
        )
    return found


def states_of_rules(document: Campaign, branches: Mapping[str, str]) -> dict[str, list[str]]:
    """What `codes('name')` means in a rule: the states of the live codes or links of that name."""
    states = states_of(document.codes, branches) | states_of(document.links, branches)
    return {name: list(by_branch.values()) for name, by_branch in states.items()}


def wanted_states(document: Campaign, branches: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """Everything that is to be made at WeCom under a state: what it is, and the states."""
    return [
        ("live code", _flat(states_of(document.codes, branches))),
        ("acquisition link", _flat(states_of(document.links, branches))),
        ("group code", list(document.group_codes)),
    ]


def _flat(states: Mapping[str, Mapping[str, str]]) -> list[str]:
    return [state for by_branch in states.values() for state in by_branch.values()]
