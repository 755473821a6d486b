"""What a step does: through the sandbox's control plane in WeChat, through the product's public
HTTP at the bank."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import httpx

from sandbox.people import bank, hunters, plan
from sandbox.people.phone import CouldNot, Hosts, Phone
from sandbox.people.plan import Stage, Step
from sandbox.people.truth_file import Answer, Begun, Customer, Ended, Friend

BETWEEN = 1.1
"""Seconds from one thing that a customer does to the next: events carry whole seconds, and their
order must be told by them."""


class Actor:
    """One customer, who does one thing after the other."""

    def __init__(self, hosts: Hosts, stage: Stage, seed: int, customer: Customer) -> None:
        self.hosts = hosts
        self.stage = stage
        self.customer = customer
        self.phone = Phone(hosts, customer)
        self._seed = seed
        self._ready = 0.0

    async def act(self, step: Step) -> None:
        """Does the step; what makes no sense now is left, and counted."""
        clock = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._ready - clock.time()))
        try:
            if not self.customer.person:
                await self._exist()
            await _VERBS[step.kind](self, step)
        except CouldNot as error:
            self.hosts.truth.trouble(f"could not {step.kind} ({error})")
        except httpx.HTTPError as error:
            self.hosts.truth.trouble(f"{step.kind}: {type(error).__name__}")
        finally:
            self._ready = clock.time() + BETWEEN

    async def _exist(self) -> None:
        """The person comes into the sandbox's world; hunters of a ring have one phone number."""
        customer = self.customer
        wanted = {"name": customer.name} | ({"phone": customer.phone} if customer.phone else {})
        made = await self.hosts.control("POST", "people", wanted)
        customer.person = made["id"]
        customer.phone = made["phone"]
        customer.external_userid = made["external_userid"]
        customer.unionid = made["unionid"]
        customer.openids = made["openids"]

    def key(self, step: Step, *parts: str) -> str:
        """An Idempotency-Key that the same step always has."""
        return "-".join((str(self._seed), self.customer.id, str(step.number), *parts))

    async def _verb(self, path: str, body: dict[str, Any]) -> Any:
        return await self.hosts.control("POST", f"people/{self.customer.person}/{path}", body)

    def _friend(self) -> str:
        """The member who became his friend last. Raises CouldNot."""
        if not self.customer.friends:
            raise CouldNot("no_friend")
        return self.customer.friends[-1].userid

    def _met(self, added: dict[str, Any] | None) -> None:
        """A friendship began, if it did."""
        if not added or added["already_friends"]:
            return
        userid = added["userid"]
        state = added["state"]
        at = added["create_time"]
        welcome = bool(added["welcome_code"])
        told = bool(added["delivered"])
        self.customer.begun.append(
            Begun(userid=userid, state=state, at=at, welcome=welcome, told=told)
        )
        self.customer.friends.append(Friend(userid=userid, state=state, since=at))

    async def _scan(self, step: Step) -> None:
        self._met(await self._verb("scan", {"state": step.which}))

    async def _add(self, step: Step) -> None:
        self._met(await self._verb("add", {"userid": step.which}))

    async def _click(self, step: Step) -> None:
        self._met((await self._verb("click", {"link": self.stage.links[int(step.which)]}))["added"])

    async def _part(self, path: str, by: str) -> None:
        userid = self._friend()
        answer = await self._verb(path, {"userid": userid})
        self.customer.friends = [
            friend for friend in self.customer.friends if friend.userid != userid
        ]
        self.customer.ended.append(Ended(userid=userid, by=by, told=bool(answer["delivered"])))

    async def _leave(self, step: Step) -> None:
        await self._part("delete", "customer")

    async def _dismissed(self, step: Step) -> None:
        await self._part("deleted-by", "member")

    async def _write(self, step: Step) -> None:
        userid = self._friend()
        await self._verb("message", {"userid": userid, "text": step.which})
        self.customer.wrote.append(userid)

    async def _open(self, step: Step) -> None:
        await self.phone.sign_in(step.which)

    async def _bind(self, step: Step) -> None:
        await self.phone.bind(step.which)

    async def _subscribe(self, step: Step) -> None:
        """Answers WeChat's prompt, and the mini-program reports the answers."""
        appid = step.which
        choices = dict(choice.split("=") for choice in step.also)
        told = bool(
            (await self._verb("subscribe", {"appid": appid, "templates": choices}))["delivered"]
        )
        headers = {"Idempotency-Key": self.key(step)}
        await self.phone.ask(
            appid, "POST", "subscriptions", headers=headers, json={"answers": choices}
        )
        self.customer.subscribed += [
            Answer(appid=appid, template_id=template, accepted=choice == "accept", told=told)
            for template, choice in choices.items()
        ]

    async def _join(self, step: Step) -> None:
        group = self.stage.groups[int(step.which)]
        if group.startswith("code:"):
            chat_id = (await self._verb("join", {"state": group.removeprefix("code:")}))["chat_id"]
        else:
            await self.hosts.control(
                "POST", f"groups/{group}/join", {"person": self.customer.person}
            )
            chat_id = group
        if chat_id not in self.customer.groups:
            self.customer.groups.append(chat_id)

    async def _quit(self, step: Step) -> None:
        if not self.customer.groups:
            raise CouldNot("no_group")
        chat_id = self.customer.groups[-1]
        await self.hosts.control(
            "POST", f"groups/{chat_id}/leave", {"person": self.customer.person}
        )
        self.customer.groups.remove(chat_id)

    async def _invite(self, step: Step) -> None:
        """He shows the code to somebody who scans it and opens the mini-program."""
        number = f"{self.customer.id}.{step.number}"
        name = plan.name_of(self._seed, step.customer * 100 + step.number)
        guest = self.hosts.truth.customers.setdefault(number, Customer(id=number, name=name))
        invited = Actor(self.hosts, self.stage, self._seed, guest)
        await invited.act(step.model_copy(update={"kind": "scan"}))
        await invited.act(step.model_copy(update={"kind": "open", "which": self.stage.appids[0]}))

    async def _bank(self, step: Step) -> None:
        await bank.act(self.hosts, self.customer, step)

    async def _claim(self, step: Step) -> None:
        """Claims whatever is shown to him; a hunter also what others were shown."""
        (appid,) = step.also
        shown = await self.phone.rewards(appid)
        seen = self.hosts.rewards
        seen.update(dict.fromkeys(shown))
        for reward in sorted(seen) if self.customer.ring else shown:
            await self._claim_one(step, appid, reward)

    async def _claim_one(self, step: Step, appid: str, reward: str) -> None:
        key = self.key(step, reward)
        another_key = key + "-b"
        claim = partial(self.phone.claim, appid, reward)
        if step.which == "double":
            await asyncio.gather(claim(key), claim(key))
        elif step.which == "double_keys":
            await asyncio.gather(claim(key), claim(another_key))
        elif step.which == "repeat":
            await claim(key)
            await claim(key)
        elif step.which == "again":
            await claim(key)
            await claim(another_key)
        elif step.which == "impatient":
            await self.phone.claim_and_hang_up(appid, reward, key)
            await claim(key)
        else:
            await claim(key)

    async def _trick(self, step: Step) -> None:
        await hunters.trick(self.phone, step, self.key(step, "trick"))

    async def _forge(self, step: Step) -> None:
        userid = self.stage.userids[step.customer % len(self.stage.userids)]
        await hunters.forge(self.hosts, step, userid, self.key(step))


_VERBS: dict[str, Callable[[Actor, Step], Awaitable[None]]] = {
    "scan": Actor._scan,
    "add": Actor._add,
    "click": Actor._click,
    "leave": Actor._leave,
    "dismissed": Actor._dismissed,
    "write": Actor._write,
    "open": Actor._open,
    "phone": Actor._bind,
    "subscribe": Actor._subscribe,
    "join": Actor._join,
    "quit": Actor._quit,
    "invite": Actor._invite,
    "claim": Actor._claim,
    "bank": Actor._bank,
    "trick": Actor._trick,
    "forge": Actor._forge,
}
