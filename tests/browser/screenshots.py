"""Every page of the demo as a picture: ``make screenshots`` writes docs/screenshots, light and dark.

``python tests/browser/screenshots.py FOLDER --all`` adds phone width and 简体中文.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import requests  # noqa: E402
from playwright.sync_api import Page  # noqa: E402
from rigs.chromium import Chromium  # noqa: E402
from rigs.processes import accepts_connections, free_port, wait_until  # noqa: E402

PASSWORD = "kube-iam-demo"
PAGES: dict[str, tuple[str, str]] = {
    "login": ("", "/login"),
    "home": ("lee", "/"),
    "home-newcomer": ("nico", "/"),
    "download": ("lee", "/kubeconfig/demo"),
    "clusters": ("ada", "/clusters"),
    "cluster": ("ada", "/clusters/demo"),
    "bindings": ("ada", "/clusters/demo/bindings"),
    "cluster-new": ("ada", "/clusters/new"),
    "cluster-remove": ("ada", "/clusters/demo/remove"),
    "mappings": ("ada", "/mappings"),
    "mapping-new": ("ada", "/mappings/new"),
    "people": ("ada", "/people"),
    "explorer-who-can": ("ada", "/explorer/who-can?cluster=demo&verb=create&resource=pods&namespace=shop"),
    "explorer-why": ("ada", "/explorer/why?cluster=demo&user=erin&verb=delete&resource=deployments&namespace=shop-staging"),
    "explorer-paths": ("ada", "/explorer/paths?cluster=demo"),
    "policies": ("ada", "/policies"),
    "policy-new": ("ada", "/policies/new"),
    "requests": ("erin", "/requests"),
    "request-new": ("erin", "/requests/new"),
    "request-to-decide": ("lee", "/requests/{request}"),
    "inbox": ("lee", "/inbox"),
    "grants": ("ada", "/grants"),
    "catalogue": ("ada", "/catalogue"),
    "catalogue-entry": ("ada", "/catalogue/run-shop"),
    "rules": ("ada", "/rules"),
    "rule": ("ada", "/rules/production"),
    "rules-simulated": ("ada", "/rules/simulate?username=erin&entry=run-shop&clusters=demo&namespaces=shop"),
    "break-glass": ("lee", "/emergency"),
    "break-glass-review": ("aude", "/emergency/{emergency}"),
    "emergency-doors": ("ada", "/emergency/doors"),
    "emergency-door": ("ada", "/emergency/doors/night"),
    "notifications": ("ada", "/notifications"),
    "audit": ("aude", "/audit"),
    "audit-evidence": ("aude", "/audit/evidence"),
    "audit-story": ("aude", "/audit/stories/{emergency}"),
    "status": ("ada", "/status"),
    "account": ("ada", "/account"),
    "not-found": ("ada", "/nowhere"),
}


def log_in(page: Page, base: str, username: str) -> None:
    page.goto(f"{base}/login")
    page.fill("#username", username)
    page.fill("#password", PASSWORD)
    page.click("main button.btn-primary")
    page.wait_for_url(f"{base}/")


def ask(page: Page, base: str, entry: str, namespace: str, reason: str, file: Path | None = None) -> str:
    """From the catalogue to the request, whose id this returns; with a picture of what it comes to."""
    page.goto(f"{base}/requests/new?entry={entry}")
    page.check("input[name=clusters][value=demo]")
    page.fill("#f-namespaces", namespace)
    page.fill("#f-reason", reason)
    page.click("button[value=preview]")
    page.wait_for_selector("button[value=send]")
    if file:
        page.screenshot(path=str(file), full_page=True)
        return ""
    page.click("button[value=send]")
    page.wait_for_url(re.compile("/requests/[0-9a-f]{24}$"))
    return page.url.rpartition("/")[2]


def furnish(chromium: Chromium, base: str) -> dict[str, str]:
    """An engineer holds a grant and waits for another; the lead broke the glass. The ids."""
    with chromium.page("light") as page:
        log_in(page, base, "erin")
        ask(page, base, "look-around", "shop-staging", "To see why the till is slow.")
        waiting = ask(page, base, "run-shop", "shop", "The till is down since the release, nobody can pay.")
    with chromium.page("light") as page:
        log_in(page, base, "lee")
        page.goto(f"{base}/emergency")
        page.click("summary.danger-link")
        page.fill("textarea[name=reason]", "The shop is down and nobody answers.")
        page.fill("input[name=password]", PASSWORD)
        page.click("button.btn-danger")
        page.wait_for_url(re.compile("/emergency/[0-9a-f]{24}$"))
        return {"request": waiting, "emergency": page.url.rpartition("/")[2]}


def take(chromium: Chromium, base: str, folder: Path, look: tuple[str, str, int, str], ids: dict[str, str]) -> None:
    name_of_look, theme, width, locale = look
    for username in dict.fromkeys(who for who, _ in PAGES.values()):
        with chromium.page(theme, width=width, height=860, locale=locale) as page:  # type: ignore[arg-type]
            if username:
                log_in(page, base, username)
            for name, (who, path) in PAGES.items():
                if who == username:
                    page.goto(base + path.format(**ids))
                    page.screenshot(path=str(folder / f"{name}-{name_of_look}.png"), full_page=True)
            if username == "ada":
                preview(page, base, folder / f"mapping-preview-{name_of_look}.png")
            if username == "erin":
                ask(page, base, "change-staging", "shop-staging", "To try the new till.", folder / f"request-preview-{name_of_look}.png")


def preview(page: Page, base: str, file: Path) -> None:
    page.goto(f"{base}/mappings/new")
    page.fill("#f-group", "local:leads")
    page.fill("#f-role_name", "view")
    page.click("button[value=preview]")
    page.screenshot(path=str(file), full_page=True)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else ROOT / "docs" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    looks = [("light", "light", 1200, "en-GB"), ("dark", "dark", 1200, "en-GB")]
    if "--all" in sys.argv:
        looks += [("phone", "light", 390, "en-GB"), ("zh", "light", 1200, "zh-CN"), ("zh-phone", "dark", 390, "zh-CN")]
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as temporary:
        demo = subprocess.Popen([sys.executable, "-m", "iam", "demo", "--folder", temporary, "--port", str(port)], cwd=ROOT)
        try:
            wait_until(lambda: accepts_connections(port) and requests.get(f"{base}/readyz", timeout=5).ok, seconds=60, what="the demo")
            with Chromium() as chromium:
                for username in ("erin", "nico", "aude", "lee"):
                    with chromium.page("light") as page:
                        log_in(page, base, username)
                ids = furnish(chromium, base)
                for look in looks:
                    take(chromium, base, folder, look, ids)
        finally:
            demo.terminate()
            demo.wait(30)


if __name__ == "__main__":
    main()
