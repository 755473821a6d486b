"""A WeCom that answers at once and notes when each welcome arrived. `python -m bench.wecom
PORT`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

import orjson
from tornado.web import Application, HTTPError, RequestHandler
from typing_extensions import override

Answer = dict[str, Any]


class WeCom:
    """What it was asked; `welcomes` are the arrivals (time.monotonic) by welcome code."""

    def __init__(self) -> None:
        self.welcomes: dict[str, list[float]] = {}
        self.tags: dict[str, str] = {}
        self.ways = 0

    def token(self, _: Answer) -> Answer:
        return {"access_token": "token", "expires_in": 7200}

    def contact(self, query: Answer) -> Answer:
        external_userid = query["external_userid"]
        person = {
            "external_userid": external_userid,
            "name": "刘敏",
            "type": 1,
            "unionid": f"u{external_userid}",
        }
        return {"external_contact": person, "follow_user": []}

    def way(self, _: Answer) -> Answer:
        self.ways += 1
        return {"config_id": f"way{self.ways}", "qr_code": "about:blank"}

    def tag_list(self, _: Answer) -> Answer:
        groups: dict[str, list[Answer]] = {}
        for name, tag_id in self.tags.items():
            group, _sep, tag = name.partition(":")
            groups.setdefault(group, []).append({"id": tag_id, "name": tag})
        told = [
            {"group_id": f"group-{group}", "group_name": group, "tag": tags}
            for group, tags in groups.items()
        ]
        return {"tag_group": told}

    def add_tag(self, body: Answer) -> Answer:
        for tag in body["tag"]:
            self.tags.setdefault(f"{body['group_name']}:{tag['name']}", f"tag{len(self.tags)}")
        return {}

    def mark_tag(self, _: Answer) -> Answer:
        return {}

    def welcome(self, body: Answer) -> Answer:
        self.welcomes.setdefault(body["welcome_code"], []).append(time.monotonic())
        return {}

    def seen(self, _: Answer) -> Answer:
        return {"welcomes": self.welcomes}


class Endpoint(RequestHandler):
    @override
    def initialize(self, call: Callable[[Answer], Answer]) -> None:
        self.call = call

    @override
    def get(self) -> None:
        self.write(
            self.call(
                {name: values[-1].decode() for name, values in self.request.query_arguments.items()}
            )
        )

    @override
    def post(self) -> None:
        if self.get_query_argument("access_token", "") != "token":
            raise HTTPError(403)
        self.write(
            {"errcode": 0, "errmsg": "ok", **self.call(orjson.loads(self.request.body or b"{}"))}
        )


async def main(port: int) -> None:
    """Serves until it is killed."""
    wecom = WeCom()
    calls = {
        "/cgi-bin/gettoken": wecom.token,
        "/cgi-bin/externalcontact/get": wecom.contact,
        "/cgi-bin/externalcontact/add_contact_way": wecom.way,
        "/cgi-bin/externalcontact/get_corp_tag_list": wecom.tag_list,
        "/cgi-bin/externalcontact/add_corp_tag": wecom.add_tag,
        "/cgi-bin/externalcontact/mark_tag": wecom.mark_tag,
        "/cgi-bin/externalcontact/send_welcome_msg": wecom.welcome,
        "/seen": wecom.seen,
    }
    routes = [(path, Endpoint, {"call": call}) for path, call in calls.items()]
    Application(routes, log_function=lambda handler: None).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
