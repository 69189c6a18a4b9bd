"""The page that a one-time link opens: a name, a password, and in.

Promises: one page without anything from elsewhere; its script is the one whose digest its policy names. The secret
stands behind the # of the address, which no browser sends and no proxy logs.
Leaves out: what the link does (`session`).
Thread: `http`.
"""

from __future__ import annotations

import base64
import hashlib

from fastapi import APIRouter, Response

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_SCRIPT = """
const form = document.forms[0], told = document.querySelector("output");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const {name, password} = form.elements;
  const given = {secret: location.hash.slice(1), name: name.value, password: password.value};
  const answer = await fetch("/api/v1/link", {
    method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(given),
  });
  const body = await answer.json();
  if (answer.ok) {
    history.replaceState(null, "", location.pathname);
    form.remove();
    told.textContent = `Welcome, ${body.person} (${body.role}). You are logged in.`;
  } else {
    told.textContent = body.detail;
  }
});
"""
_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 24rem; margin: 15vh auto 0; padding: 0 1rem; }
label, input, button { display: block; width: 100%; box-sizing: border-box; font: inherit; }
input, button { padding: .5rem; margin: .25rem 0 1rem; }
"""
_PAGE = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Set a password</title><style>{_STYLE}</style></head><body><h1>Set a password</h1>
<form><label>Name <input name="name" autocomplete="username" required autofocus></label>
<label>Password, 10 characters at least
<input name="password" type="password" autocomplete="new-password" minlength="10" required></label>
<button>Set it and log in</button></form><output aria-live="polite"></output>
<script>{_SCRIPT}</script></body></html>
"""


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


_POLICY = (
    f"default-src 'none'; script-src '{_digest(_SCRIPT)}'; style-src '{_digest(_STYLE)}'; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


@router.get("/link")
def show_page() -> Response:
    """Open to everybody; useless without a link's secret."""
    return Response(
        _PAGE,
        media_type="text/html; charset=utf-8",
        headers={"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"},
    )
