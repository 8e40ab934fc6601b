"""The web page in three files, and what a browser may do with it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastapi.responses import Response

FOLDER = Path(__file__).parents[1] / "page"
PAGE_FILES = {
    "/": ("chat.html", "text/html"),
    "/chat.css": ("chat.css", "text/css"),
    "/chat.js": ("chat.js", "text/javascript"),
}
"""Path of the address: file in the folder, media type."""

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "data:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{key} {value}" for key, value in POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
"""The page may load its own script and styles, talk to its own server, and nothing else; no other
page may show it in a frame. A browser keeps the files, but asks each time whether they are still
the same, so that none shows the page of an older version."""


def page_file(path: str, known: str = "") -> Response:
    """A file of the page; without its content where the client has it already.

    Args:
        path: one of PAGE_FILES.
        known: the If-None-Match header, the tags of what the client has.
    """
    name, kind = PAGE_FILES[path]
    content = (FOLDER / name).read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**HEADERS, "ETag": tag}
    if tag in known:  # a proxy that compresses makes it a weak tag: W/"..."
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)
