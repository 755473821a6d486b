"""What people and things are called on the console's pages: names in the place of userids, logins
and ids."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from campaigns import live
from customers.banks import clerks, counters, staff
from customers.banks.bank import Bank
from customers.segments import versions as segments
from rewards import catalogue
from rewards.points import program
from rewards.pools import keeping
from services.cache import cached

NAMES_SECONDS = 10.0
_CODE = re.compile(r"(?:[a-z0-9-]{1,31}:)?[0-9a-f]{16,}")

Titles = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Names:
    """Names by id. Of `titled` things, campaigns, rewards, code pools and segments (`segment:` and
    the id), there is one in each language, or one that serves for both; so it is of the points
    `programs`, whose ids may be those of a campaign as well."""

    people: Mapping[str, str]
    titled: Titles
    branches: Mapping[str, str]
    programs: Titles

    def called(self, name: str, language: str) -> str:
        """What `name` is called; itself where nobody gave it another name."""
        if name in self.titled:
            return in_language(self.titled[name], language) or name
        return self.people.get(name) or self.branches.get(name) or name

    def of_program(self, program: str, language: str) -> str:
        """What a points programme is called."""
        return in_language(self.programs.get(program, {}), language) or program


def in_language(names: Mapping[str, str | None], language: str) -> str:
    """The name in that language, else in whichever there is."""
    return names.get(language) or next((text for text in names.values() if text), "")


def is_code(value: object) -> bool:
    """Whether a value is a hash or a row's id, which nobody reads."""
    return isinstance(value, str) and _CODE.fullmatch(value) is not None


async def _at_counters(bank: Bank) -> dict[str, str]:
    """Who writes vouchers off: as write-offs name them, and by the login alone."""
    named = {
        row["login"]: f"{row['name']} ({row['login']})"
        for row in await counters.everybody(bank, "counter")
    }
    kinds = {
        f"{kind}:{login}": name for kind in ("teller", "merchant") for login, name in named.items()
    }
    partners = await counters.everybody(bank, "partner")
    return {**named, **kinds, **{f"partner:{row['login']}": row["name"] for row in partners}}


async def _programs(bank: Bank) -> Titles:
    """The bank's points programme, which keeps its id for good."""
    live = await program.find_live(bank)
    return {} if live is None else {live.program.id: live.program.name.model_dump()}


async def known(bank: Bank) -> Names:
    """Every name at the bank, some seconds old at most."""

    async def load() -> Names:
        members = {row["userid"]: row["name"] for row in await staff.everybody(bank)}
        logins = {
            row["login"]: f"{row['name']} ({row['login']})" for row in await clerks.everybody(bank)
        }
        campaigns = {name: row["name"] for name, row in (await live.campaign_rows(bank)).items()}
        rewards = {name: row["title"] for name, row in (await catalogue.all_rewards(bank)).items()}
        people = {**await _at_counters(bank), **logins, **members}
        places = {**bank.merchants, **bank.branches}
        named = (await segments.titles(bank)).items()
        titled = {f"segment:{name}": title for name, title in named}
        titled |= {**await keeping.names(bank), **rewards, **campaigns}
        return Names(people, titled, places, await _programs(bank))

    return await cached(bank.services, f"names:{bank.id}", NAMES_SECONDS, load)
