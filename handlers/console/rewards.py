"""The console's pages of stock: every reward of the bank, and one with all that moved it."""

from __future__ import annotations

import re

from typing_extensions import override

from config.bounds import Word
from handlers.console.base import Console, Decision
from handlers.http.pages import Form
from rewards import shelf
from services.errors import InvalidInput, YinqiaoError


class LowForm(Form):
    low: Word = ""


class Rewards(Console):
    """All rewards, with what is left of each."""

    @override
    async def get(self) -> None:
        self.render_page("rewards", rows=await shelf.overview(self.bank, self.actor))


class Reward(Decision):
    """One reward; POST says below how many left somebody is told."""

    done = "reward_low"

    @property
    def reward(self) -> str:
        return self.path_kwargs["reward"]

    @override
    async def get(self, reward: str) -> None:
        await self.show()

    @override
    async def show(self, error: YinqiaoError | None = None) -> None:
        view = await shelf.get(self.bank, self.actor, self.reward)
        self.render_page("reward", error, view=view)

    @override
    def address(self) -> str:
        return f"/console/rewards/{self.reward}"

    @override
    async def decide(self) -> None:
        text = self.form(LowForm).low.strip()
        if re.fullmatch(r"\d{1,8}", text, re.ASCII) is None:
            raise InvalidInput("low_invalid", "a whole number", fields={"low": "low_invalid"})
        await shelf.set_low(self.bank, self.actor, self.reward, int(text))
