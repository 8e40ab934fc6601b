"""The web page, and what a browser may do with it."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from fastapi.responses import HTMLResponse

PAGE = Path(__file__).parents[1] / "chat.html"


def page_response(path: Path = PAGE) -> HTMLResponse:
    """The page, with headers that let it run its own script and styles, talk to its own server, and
    nothing else; no other page may show it in a frame."""
    html = path.read_text(encoding="utf-8")
    policy = {
        "default-src": "'none'",
        "script-src": hashes(html, "script"),
        "style-src": hashes(html, "style"),
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    headers = {
        "Content-Security-Policy": "; ".join(f"{key} {value}" for key, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }
    return HTMLResponse(html, headers=headers)


def hashes(html: str, tag: str) -> str:
    """The sources of a policy that allow what stands inside a tag, and only that."""
    contents = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    digests = [hashlib.sha256(content.encode("utf-8")).digest() for content in contents]
    return " ".join(f"'sha256-{base64.b64encode(d).decode('ascii')}'" for d in digests) or "'none'"
