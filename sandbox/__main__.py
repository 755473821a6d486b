"""`python -m sandbox`: serve a simulated WeChat and WeCom until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import errno
import signal
import sys
from pathlib import Path

import yaml
from pydantic import ValidationError

from sandbox.app import serve
from sandbox.core.options import Options
from sandbox.core.world import DEFAULT, World, load


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox", description="A simulated WeChat and WeCom."
    )
    parser.add_argument("--port", type=int, default=8001, help="0 picks a free port")
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument(
        "--world", type=Path, default=DEFAULT, help="corp, members and mini-programs (YAML)"
    )
    parser.add_argument(
        "--state", type=Path, help="file that keeps people and friendships over a restart"
    )
    parser.add_argument(
        "--wecom-callback", help="callback address of the product, instead of the world's"
    )
    parser.add_argument(
        "--wechat-callback", help="push address of the mini-programs, may contain {appid}"
    )
    parser.add_argument("--portal-url", help="portal preview, with {appid}; ?code=... is added")
    parser.add_argument(
        "--sidebar-url", help="side panel, may contain {userid} and {external_userid}"
    )
    parser.add_argument(
        "--event-url", help="where the product shows an event that it took, with {event}"
    )
    parser.add_argument(
        "--bank-url", help="where the bank's core system sends events; default: where callbacks go"
    )
    return parser.parse_args(argv)


async def _run(args: argparse.Namespace, world: World) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    options = Options(
        state_file=args.state,
        callback_url=args.wecom_callback,
        push_url=args.wechat_callback,
        portal_url=args.portal_url,
        sidebar_url=args.sidebar_url,
        event_url=args.event_url,
        bank_url=args.bank_url,
    )

    def ready(port: int) -> None:
        sys.stdout.write(f"sandbox listening on http://{args.address}:{port}\n")
        sys.stdout.flush()

    await serve(world, options, port=args.port, address=args.address, stop=stop, ready=ready)


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 after a clean stop, 1 when it could not start."""
    args = arguments(argv)
    try:
        asyncio.run(_run(args, load(args.world)))
    except (OSError, ValidationError, yaml.YAMLError) as error:
        busy = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        problem = f"port {args.port} on {args.address} is already in use" if busy else str(error)
        sys.stderr.write(f"sandbox: {problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
