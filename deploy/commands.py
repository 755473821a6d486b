"""Commands about events: what came in, and why something was done or not."""

from __future__ import annotations

import getpass
import gettext
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from customers.banks.bank import open_bank
from deploy.terminal import TenantOption, only_tenant, print_table, run
from services.container import Services

LOCALE = Path(__file__).parent.parent / "web" / "locale"
EventArgument = Annotated[
    str, typer.Argument(help="its id, or the first 8 characters of it or more")
]

events_app = typer.Typer(no_args_is_help=True)


def explain(code: str) -> str:
    """The English text of a code, or the code."""
    text = gettext.translation("yinqiao", str(LOCALE), languages=["en_US"]).gettext(f"code:{code}")
    return code if text.startswith("code:") else text


def why(event: EventArgument, tenant: TenantOption = "") -> None:
    """Say what an event was, what was decided and called because of it, and what was answered."""
    from operations.events import explain as asking

    async def ask(services: Services) -> dict[str, Any]:
        return await asking.explain_event(
            await open_bank(services, await only_tenant(services, tenant)), event, explain
        )

    _print(run(ask))


@events_app.command("unknown")
def events_unknown(tenant: TenantOption = "") -> None:
    """List the events that nobody knows, with their counts."""
    from operations.events import dead_letters

    async def count(services: Services) -> list[dead_letters.UnknownCount]:
        return await dead_letters.unknown_counts(
            await open_bank(services, await only_tenant(services, tenant))
        )

    rows = run(count)
    print_table("Events that nobody knows", [{**row} for row in rows])
    if not rows:
        print("every event so far is known")


@events_app.command("retry")
def events_retry(event: EventArgument, tenant: TenantOption = "") -> None:
    """Handle an event again that is a dead letter."""
    from operations.events import dead_letters
    from operations.events import explain as asking

    async def again(services: Services) -> str:
        bank = await only_tenant(services, tenant)
        row = await asking.find(await open_bank(services, bank), event)
        await dead_letters.retry(
            await open_bank(services, bank), f"cli:{getpass.getuser()}", row["_id"]
        )
        return str(row["_id"])

    print(f"{run(again)} is due again")


def _print(answer: Mapping[str, Any]) -> None:
    screen = Console(highlight=False, markup=False, soft_wrap=True)
    told = answer["received"]
    screen.print(
        f"{explain('type_' + told['type'])}: {explain('event_is_' + answer['state'])}", style="bold"
    )
    screen.print(f"  event     {answer['event']}")
    screen.print(f"  received  {told['at']} from {told['source']}")
    if told["happened_at"]:
        screen.print(f"  happened  {told['happened_at']}")
    for name, value in told["about"].items():
        screen.print(f"  {name}  {value}")
    if answer["reason"]:
        screen.print(f"  reason    {answer['reason_text']}")
    if "welcome" in answer:
        screen.print(
            f"  welcome   {'sent' if answer['welcome']['sent'] else 'not sent'}: {answer['welcome']['text']}"
        )
    _print_tries(screen, answer["tries"])
    _print_decisions(screen, answer["decided"])
    _print_calls(screen, answer["called"])
    for run_ in answer["runs"]:
        status = explain("run_" + run_["status"])
        reason = f": {run_['reason_text']}" if run_["reason"] else ""
        screen.print(
            f"\ncampaign {run_['campaign']}, version {run_['version']}: {status}{reason}",
            style="bold",
        )
        _print_effects(screen, run_["effects"])
    if answer["effects"]:
        screen.print("\nwhat else was done outside", style="bold")
        _print_effects(screen, answer["effects"])


def _print_tries(screen: Console, tries: list[dict[str, Any]]) -> None:
    for each in tries:
        screen.print(f"  +{each['after']:.2f} s  tried, and failed: {each['reason_text']}")
        _print_calls(screen, each["called"])


def _print_decisions(screen: Console, decided: list[dict[str, Any]]) -> None:
    for note in decided:
        data = ", ".join(
            f"{name} {value}" for name, value in note["data"].items() if name not in ("why", "run")
        )
        screen.print(f"  +{note['after']:.2f} s  {note['text']}" + (f" ({data})" if data else ""))


def _print_calls(screen: Console, called: list[dict[str, Any]]) -> None:
    for call in called:
        screen.print(
            f"  +{call['after']:.2f} s  called {call['path']}: {call['errcode']}, {call['ms']} ms"
        )


def _print_effects(screen: Console, effects: list[dict[str, Any]]) -> None:
    for effect in effects:
        step = f", step {effect['step']}" if effect["step"] else ""
        state = explain("effect_" + effect["state"])
        reason = f": {effect['reason_text']}" if effect["reason"] else ""
        screen.print(f"  {explain('effect_' + effect['kind'])}{step}: {state}{reason}")
        _print_tries(screen, effect["tries"])
        _print_decisions(screen, effect["decided"])
        _print_calls(screen, effect["called"])
