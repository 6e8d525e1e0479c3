"""The pages as a person sees them, in a real browser through port-forwards."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

from cluster.access import admin, secret
from tests.e2e.conftest import PICTURES, Platform
from tests.tools import tool


@pytest.fixture
def page() -> Iterator[Page]:
    browser_path = tool("chromium", "google-chrome")
    PICTURES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1400, "height": 900})
        browser.close()


def test_the_first_administrator_logs_in_and_sees_the_dags(platform: Platform, page: Page) -> None:
    username, password = admin(platform.kubectl)
    with platform.kubectl.forward("service/airflow-api-server", 8080) as forward:
        page.goto(f"{forward.url}/auth/login", timeout=120_000)
        page.screenshot(path=PICTURES / "login.png")
        page.fill("input[name=username]", username)
        page.fill("input[name=password]", password)
        page.click("input[type=submit], button[type=submit]")
        page.goto(f"{forward.url}/dags", timeout=120_000)
        page.get_by_text("hvfhv_collection").first.wait_for(timeout=120_000)
        assert page.get_by_text("hvfhv_analysis").count()
        page.screenshot(path=PICTURES / "dags.png")


def test_a_wrong_password_is_refused(platform: Platform, page: Page) -> None:
    username, _ = admin(platform.kubectl)
    with platform.kubectl.forward("service/airflow-api-server", 8080) as forward:
        page.goto(f"{forward.url}/auth/login", timeout=120_000)
        page.fill("input[name=username]", username)
        page.fill("input[name=password]", "admin")
        page.click("input[type=submit], button[type=submit]")
        page.get_by_text("Invalid login").wait_for(timeout=60_000)


def test_flower_shows_the_worker_to_those_who_log_in(platform: Platform, page: Page) -> None:
    user, _, password = secret(platform.kubectl, "airflow-flower-auth")["basicAuth"].partition(":")
    with platform.kubectl.forward("service/airflow-flower", 5555) as forward:
        answer = page.request.get(f"{forward.url}/workers")
        assert answer.status == 401
        browser = page.context.browser
        assert browser
        context = browser.new_context(http_credentials={"username": user, "password": password})
        flower = context.new_page()
        flower.goto(f"{forward.url}/workers", timeout=60_000)
        flower.get_by_text("celery@").first.wait_for(timeout=60_000)
        flower.screenshot(path=PICTURES / "flower.png")
