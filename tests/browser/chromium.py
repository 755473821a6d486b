"""The Chromium that the browser walk drives: the one of the system, never a downloaded one."""

from __future__ import annotations

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def find() -> str | None:
    """Its path, or None where there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)
