"""What stands within a page that loads nothing: scripts with their hashes, the policy that lets only them run, and data as JSON."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any


def script_element(source: str, kind: str = "text/javascript") -> dict[str, str]:
    """What a template writes as a script element, with its hash for the `policy`."""
    if "</script" in source.lower() or "<!--" in source:
        raise ValueError("a script with </script or <!-- in it cannot stand in a page")
    source = source.replace("\r\n", "\n")
    digest = base64.b64encode(hashlib.sha256(source.encode("utf-8")).digest()).decode("ascii")
    return {"kind": kind, "source": source, "hash": f"'sha256-{digest}'"}


def policy(scripts: Sequence[dict[str, str]]) -> str:
    """The content security policy of a page that holds these `scripts` and loads nothing."""
    allowed = " ".join(script["hash"] for script in scripts)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"


def json_text(value: Any) -> str:
    """JSON that can stand in a script element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=lambda number: number.item())
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
