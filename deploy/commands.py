"""Commands about events: what came in, why something was done or not, and files of the bank's own
events."""

from __future__ import annotations

import getpass
import gettext
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from customers.banks.bank import Bank, open_bank
from customers.intake.rows import EVENTS
from deploy.bringing import ErrorsOption, IntakeFile, SystemOption, bring
from deploy.terminal import TenantOption, fail, only_tenant, print_table, run
from services.container import Services

LOCALE = Path(__file__).parent.parent / "web" / "locale"
EventArgument = Annotated[
    str, typer.Argument(help="its id, or the first 8 characters of it or more")
]

BATCH = 100
"""Dead letters that are made due between two lines of progress."""

events_app = typer.Typer(no_args_is_help=True)
work_app = typer.Typer(no_args_is_help=True)


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


@events_app.command("list")
def events_list(
    tenant: TenantOption = "",
    state: Annotated[
        str, typer.Option(help="waiting, unfinished, failed, dead, unknown or noted")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="at most so many")] = 50,
) -> None:
    """List the newest events with what came of them."""
    from operations.events import explain as asking

    async def ask(services: Services) -> list[dict[str, Any]]:
        bank = await open_bank(services, await only_tenant(services, tenant))
        return await asking.newest(bank, state, limit, explain)

    rows = run(ask)
    print_table("Events", [_line(row) for row in rows])
    if not rows:
        print("no event")


def _line(row: Mapping[str, Any]) -> dict[str, str]:
    came = row["outcome"]
    return {
        "event": row["event"][:12],
        "received": row["at"].isoformat(" ", "seconds"),
        "what": explain("type_" + row["type"]) if row["type"] else "-",
        "state": explain("event_is_" + (came["state"] or row["state"])),
        "why": came["text"] or row["reason_text"] or "-",
    }


@events_app.command("show")
def events_show(
    event: EventArgument,
    tenant: TenantOption = "",
    save: Annotated[
        Path | None, typer.Option(dir_okay=False, help="write the message as it came to this file")
    ] = None,
    reason: Annotated[
        str, typer.Option(help="what the message is needed for; it stands in the audit trail")
    ] = "",
) -> None:
    """Show an event as `why` does, and how a message is built that could not be read."""
    from operations.events import dead_letters
    from operations.events import explain as asking

    async def ask(services: Services) -> tuple[dict[str, Any], bytes]:
        bank = await open_bank(services, await only_tenant(services, tenant))
        answer = await asking.explain_event(bank, event, explain)
        if save is None:
            return answer, b""
        row = await asking.find(bank, event)
        return answer, await dead_letters.download(bank, _by(), row, reason)

    answer, message = run(ask)
    _print(answer)
    if save is not None:
        save.touch(mode=0o600)
        save.write_bytes(message)
        print(f"{save} has the message as it came, {len(message)} bytes")


@events_app.command("import")
def events_import(
    file: IntakeFile,
    tenant: TenantOption = "",
    system: SystemOption = "",
    errors: ErrorsOption = None,
) -> None:
    """Bring in a file of events, as if a system of the bank's had sent them: JSONL or CSV, in UTF-8
    or GB 18030. Cut short, the same command goes on; a file that was in adds nothing."""
    bring(EVENTS, file, tenant, system, errors)


@events_app.command("retry")
def events_retry(
    events: Annotated[
        list[str] | None, typer.Argument(help="their ids, or the first 8 characters or more")
    ] = None,
    tenant: TenantOption = "",
    every: Annotated[bool, typer.Option("--all", help="all dead letters")] = False,
    state: Annotated[str, typer.Option(help="with --all: dead or unknown")] = "dead",
) -> None:
    """Handle events again that are dead letters, or try again what failed of them."""
    if every == bool(events):
        fail("name the events, or say --all")

    async def again(services: Services) -> None:
        bank = await open_bank(services, await only_tenant(services, tenant))
        if every:
            await _retry_all(bank, state)
        for event in events or []:
            await _retry_one(bank, event)

    try:
        run(again)
    except KeyboardInterrupt:
        fail("interrupted; what is due again is handled, and the same command goes on")


@work_app.command("list")
def work_list(tenant: TenantOption = "") -> None:
    """List work that failed for good and is not tried any more, newest first."""
    from operations import failed
    from operations.events.explain import reason_text
    from operations.jobs import FAILURES

    async def ask(services: Services) -> list[dict[str, Any]]:
        bank = await open_bank(services, await only_tenant(services, tenant))
        return [
            {
                "work": row["id"].partition(":")[2],
                "job": row["job"],
                "what": row["what"] or "-",
                "why": reason_text(row["reason"], explain),
                "tries": row["attempts"],
            }
            for row in await failed.newest(bank, FAILURES)
        ]

    rows = run(ask)
    print_table("Work that failed for good", rows)
    if not rows:
        print("nothing failed for good")


@work_app.command("retry")
def work_retry(
    work: Annotated[list[str] | None, typer.Argument(help="ids of `work list`")] = None,
    tenant: TenantOption = "",
    every: Annotated[bool, typer.Option("--all", help="everything that failed")] = False,
) -> None:
    """Have work that failed for good tried again."""
    if every == bool(work):
        fail("name the work, or say --all")

    async def again(services: Services) -> None:
        bank = await open_bank(services, await only_tenant(services, tenant))
        await (_retry_all_work(bank) if every else _retry_work(bank, work or []))

    try:
        run(again)
    except KeyboardInterrupt:
        fail("interrupted; what is due again is done, and the same command goes on")


async def _retry_work(bank: Bank, work: list[str]) -> None:
    from operations import failed
    from operations.jobs import FAILURES

    for each in work:
        row_id = f"{bank.id}:{each.removeprefix(bank.id + ':')}"
        await failed.retry(bank, _by(), FAILURES, row_id)
        print(f"{row_id} is due again")


async def _retry_all_work(bank: Bank) -> None:
    """Batch after batch of as many as there were in the beginning."""
    from operations import failed
    from operations.jobs import FAILURES

    total, done = await failed.count(bank, FAILURES), 0
    while done < total:
        some = await failed.retry_some(bank, _by(), FAILURES, min(BATCH, total - done))
        if not some:
            break
        done += some
        print(f"{done} of {total} are due again", flush=True)
    if not total:
        print("nothing failed for good")


async def _retry_one(bank: Bank, event: str) -> None:
    from operations.events import dead_letters
    from operations.events import explain as asking

    row = await asking.find(bank, event)
    await dead_letters.retry(bank, _by(), row["_id"])
    print(f"{row['_id']} is due again")


async def _retry_all(bank: Bank, state: str) -> None:
    """Batch after batch of those that were there in the beginning: what comes back is not tried
    twice."""
    from operations.events import dead_letters

    total, done = await dead_letters.count(bank, state), 0
    while done < total:
        some = await dead_letters.retry_some(bank, _by(), state, min(BATCH, total - done))
        if not some:
            break
        done += some
        print(f"{done} of {total} are due again", flush=True)
    if not total:
        print("there is none")


def _by() -> str:
    return f"cli:{getpass.getuser()}"


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
    if answer["outcome"]["state"]:
        state = explain("event_is_" + answer["outcome"]["state"])
        screen.print(f"  outcome   {state}: {answer['outcome']['text']}")
    if "welcome" in answer:
        screen.print(
            f"  welcome   {'sent' if answer['welcome']['sent'] else 'not sent'}: {answer['welcome']['text']}"
        )
    if "message" in answer:
        more = "…" if answer["message"]["cut"] else ""
        screen.print(f"  as it came, {answer['message']['size']} bytes, masked:")
        screen.print(f"  {answer['message']['text']}{more}")
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
