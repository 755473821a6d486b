"""The console's page of channels: live codes, acquisition links, group codes, and the groups that
there are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from typing_extensions import override

from campaigns.channels import view
from handlers.console.base import Console


class Channels(Console):
    """Who stands behind each code now, today's new customers, and what is left of the links'
    balance."""

    @override
    async def get(self) -> None:
        found: dict[str, Any] = await view.overview(self.bank)
        self.allow_pictures(row["qr_code"] for row in found["group_codes"])
        self.render_page("channels", **found)

    def allow_pictures(self, addresses: Iterable[str]) -> None:
        """Lets this page show pictures from the hosts of these addresses: WeCom keeps the pictures
        of codes."""
        parts = [urlsplit(address) for address in addresses if address]
        hosts = {f"{one.scheme}://{one.netloc}" for one in parts if one.scheme in ("https", "http")}
        policy = str(self._headers["Content-Security-Policy"])
        allowed = " ".join(["img-src 'self' data:", *sorted(hosts)])
        self.set_header("Content-Security-Policy", policy.replace("img-src 'self' data:", allowed))
