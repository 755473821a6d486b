"""Where a sign-in comes from, as the audit trail, the log and the pages tell it: an address of which
the last part is hidden, and a device by its browser and system."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from customers.banks.bank import Bank

_BROWSERS = (
    ("WeCom", r"wxwork/(\d+)"),
    ("WeChat", r"MicroMessenger/(\d+)"),
    ("Edge", r"Edg(?:e|A|iOS)?/(\d+)"),
    ("Opera", r"OPR/(\d+)"),
    ("Firefox", r"(?:Firefox|FxiOS)/(\d+)"),
    ("Chrome", r"(?:Chrome|CriOS)/(\d+)"),
    ("Safari", r"Version/(\d+).*Safari"),
)
_SYSTEMS = (
    ("HarmonyOS", r"HarmonyOS|OpenHarmony"),
    ("Android", r"Android"),
    ("iPhone", r"iPhone"),
    ("iPad", r"iPad"),
    ("Windows", r"Windows"),
    ("macOS", r"Macintosh|Mac OS X"),
    ("Linux", r"Linux|X11"),
)


@dataclass(frozen=True)
class Origin:
    """`address` in clear, to be counted by and never to be kept."""

    address: str
    device: str = ""

    @property
    def masked(self) -> str:
        """The address without its last part: of IPv4 the last number, of IPv6 all after the
        network."""
        try:
            address = ipaddress.ip_address(self.address)
        except ValueError:
            return ""
        if isinstance(address, ipaddress.IPv6Address):
            if address.ipv4_mapped is not None:
                return Origin(str(address.ipv4_mapped)).masked
            return ":".join(address.exploded.split(":")[:3]) + ":*"
        return self.address.rpartition(".")[0] + ".*"

    def told(self, bank: Bank) -> dict[str, str]:
        """What a row of the audit trail says: the index finds the rows of one address."""
        index = bank.vault.blind("address", self.address)
        return {"address": self.masked, "address_index": index, "device": self.device}


NOWHERE = Origin("")


def device_of(user_agent: str) -> str:
    """A browser and a system, such as `Chrome 130, Windows`; empty for what is none known."""
    browser = next(
        (
            f"{name} {found.group(1)}"
            for name, pattern in _BROWSERS
            if (found := re.search(pattern, user_agent)) is not None
        ),
        "",
    )
    system = next((name for name, pattern in _SYSTEMS if re.search(pattern, user_agent)), "")
    return ", ".join(part for part in (browser, system) if part)
