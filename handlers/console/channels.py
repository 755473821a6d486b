"""The console's page of channels: live codes, acquisition links, group codes, and the groups that
there are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from typing_extensions import override

from campaigns.channels import view
from handlers.console.base import Console

PICTURES = frozenset(
    {
        "https://wework.qpic.cn",
        "https://p.qpic.cn",
        "http://p.qpic.cn",
        "https://open.work.weixin.qq.com",
    }
)
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?(?=[/?#]|$)")


class Channels(Console):
    """Who stands behind each code now, today's new customers, and what is left of the links'
    balance."""

    @override
    async def get(self) -> None:
        found: dict[str, Any] = await view.overview(self.bank)
        self.allow_pictures(row["qr_code"] for row in found["group_codes"])
        self.render_page("channels", **found)

    def allow_pictures(self, addresses: Iterable[str]) -> None:
        """Lets this page show pictures from those hosts of these addresses that are known to keep
        the pictures of codes: what a platform answers may not widen the policy."""
        known = picture_origins(self.services.settings.wecom_api_base)
        hosts = {origin_of(address) for address in addresses} & known
        policy = str(self._headers["Content-Security-Policy"])
        allowed = " ".join(["img-src 'self' data:", *sorted(hosts)])
        self.set_header("Content-Security-Policy", policy.replace("img-src 'self' data:", allowed))


def picture_origins(wecom: str) -> frozenset[str]:
    """Where WeCom keeps the pictures of its codes, and the host that answers in its place."""
    return PICTURES | {origin_of(wecom)} - {""}


def origin_of(address: str) -> str:
    """Scheme and host of a web address; empty for what is none."""
    found = _ORIGIN.match(address)
    return found[0] if found else ""
