"""The sources of profiles in this room; those of the rooms above are in operations/profiling.py."""

from __future__ import annotations

from customers import relationships
from customers.banks import profile as banks
from customers.fields import profile as fields
from customers.identity import profile as identity
from customers.intake import profile as intake
from customers.lists import profile as lists
from customers.profiles.source import Source

SOURCES: tuple[Source, ...] = (
    identity.SOURCE,
    fields.SOURCE,
    relationships.SOURCE,
    banks.SOURCE,
    intake.SOURCE,
    lists.SOURCE,
)
