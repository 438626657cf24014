"""A page in headless Chromium: what it measures of itself, and a picture of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and "EMBEDTUNE_BROWSER" not in os.environ, reason="needs Chromium (Debian's package chromium)"
)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
DARK = "--blink-settings=preferredColorScheme=0"
# Chromium's window is never narrower than 500 pixels, a frame in it may be.
FRAME = """<!DOCTYPE html><html><head><meta name="color-scheme" content="light dark"></head><body style="margin: 0">
<iframe style="width: WIDTHpx; height: 3000px; border: 0; display: block" srcdoc="PAGE"></iframe>
<script>
const frame = document.querySelector('iframe');
frame.onload = () => {
  const page = frame.contentDocument, view = frame.contentWindow, overlaps = [];
  for (const svg of page.querySelectorAll('figure svg')) {
    const texts = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
    texts.forEach(([a, p], i) => texts.slice(i + 1).forEach(([b, q]) => {
      const across = Math.min(p.right, q.right) - Math.max(p.left, q.left);
      const down = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
      if (across > 1 && down > 3) overlaps.push([svg.getAttribute('aria-label'), a, b]);
    }));
  }
  const inks = ['body', '.quiet', '.good', '.bad', 'figure svg text', 'td small'].map(s => page.querySelector(s));
  document.title = JSON.stringify({
    width: page.documentElement.scrollWidth, window: view.innerWidth, overlaps,
    paper: view.getComputedStyle(page.body).backgroundColor,
    inks: inks.filter(ink => ink).map(ink => view.getComputedStyle(ink).color),
  });
};
</script></body></html>"""


def look_at(page: str, folder: Path, width: int, dark: bool = False) -> tuple[dict[str, Any], Image.Image]:
    """What the page measures of itself when it is `width` pixels wide, and its first 3,000 pixels as a picture."""
    copy, picture = folder / "page.html", folder / "page.png"
    copy.write_text(FRAME.replace("WIDTH", str(width)).replace("PAGE", escape(page)), encoding="utf-8")
    flags = ["--window-size=1200,3000", *([DARK] if dark else []), f"--user-data-dir={folder / 'profile'}"]
    seen = _chromium(*flags, "--dump-dom", copy.as_uri())
    found = re.search(r"<title>(.*?)</title>", seen, re.DOTALL)
    assert found, "the page ran its script"
    _chromium(*flags, f"--screenshot={picture}", copy.as_uri())
    return json.loads(unescape(found[1])), Image.open(picture).convert("RGB").crop((0, 0, width, 3000))


def _chromium(*arguments: str) -> str:
    assert CHROMIUM is not None, "Chromium is asked for by EMBEDTUNE_BROWSER, and not installed"
    command = [CHROMIUM, *FLAGS, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def contrast(ink: str, paper: str) -> float:
    """WCAG's contrast ratio of two colours as `rgb(1, 2, 3)`; 4.5 is enough for text."""
    bright, dim = sorted((_luminance(ink), _luminance(paper)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def _luminance(colour: str) -> float:
    shares = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
