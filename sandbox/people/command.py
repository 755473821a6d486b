"""The command line of `python -m sandbox.people`, which plays a population against a running
sandbox and the product's public HTTP.

Honest customers and rings of bonus hunters, whose decisions follow from a seed. What must be true
at the end is written down as JSON lines; `python manage.py audit truth FILE` compares the product
with it. Ctrl-C ends it in good order, `--resume` goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import httpx

from sandbox.people.phone import CouldNot
from sandbox.people.run import play
from sandbox.people.truth_file import BadTruth, read, write


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.people", description="A population that tries the product."
    )
    parser.add_argument("--customers", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=20.0, help="steps a second")
    parser.add_argument("--seed", type=int, default=1, help="the same seed decides the same")
    parser.add_argument("--hunters", type=float, default=0.05, help="the share of bonus hunters")
    parser.add_argument(
        "--crowd",
        type=int,
        default=0,
        help="so many who are there become customers of the bank at once, each with a past",
    )
    parser.add_argument("--sandbox", default="http://127.0.0.1:8001")
    parser.add_argument(
        "--portal", default="", help="the product; default where the sandbox sends callbacks"
    )
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="stop after so long; 0: when all is done"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("truth.jsonl"), help="what must be true at the end"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with --out, with its seed and customers"
    )
    return parser.parse_args(argv)


async def _main(args: argparse.Namespace) -> None:
    truth = read(args.out) if args.resume else None
    played = await play(args, truth, _stopped_by_signals())
    write(args.out, played)
    lines = [f"{name}: {value}" for name, value in played.totals().items() if name != "kind"]
    state = "all is done" if played.head.finished else "stopped; --resume goes on"
    lines.append(f"{state}; the truth is in {args.out}")
    sys.stdout.write("\n".join(lines) + "\n")


def _stopped_by_signals() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; the second of a kind ends the process at once."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(number: int) -> None:
        stopping.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    return stopping


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 when the truth was written, 1 when it could not be played."""
    args = arguments(argv)
    if args.customers < 1 or args.rate <= 0 or not 0 <= args.hunters <= 1:
        sys.stderr.write(
            "people: at least one customer, a rate above 0 and a share from 0 to 1 are expected\n"
        )
        return 1
    try:
        asyncio.run(_main(args))
    except (httpx.HTTPError, CouldNot, BadTruth, OSError) as error:
        sys.stderr.write(f"people: {type(error).__name__}: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 1
    return 0
