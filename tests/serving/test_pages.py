"""The pages in a real browser: a photo is tried and explained, the API is shown, a key is asked for, nothing leaks."""

from __future__ import annotations

import re

import pytest

from tests.browsers import DESK, NEEDED, PHONE, axe

from .conftest import encoded, picture, running

pytestmark = NEEDED
KEY = "a key of at least sixteen"


class Opened:
    """A page, and what it asked for and complained of."""

    def __init__(self, browser, port, path="/", width=DESK, **options):
        self.page = browser.new_context(viewport={"width": width, "height": 900}, **options).new_page()
        self.asked, self.errors = [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(f"http://127.0.0.1:{port}{path}")

    def try_photo(self, data, name="photo.png"):
        self.page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": data})
        self.page.locator("#said, #trouble").locator("visible=true").first.wait_for()

    def text(self, place):
        return self.page.locator(place).inner_text()


@pytest.fixture(scope="module")
def open_page(browser, shared):
    return lambda path="/", width=DESK, **options: Opened(browser, shared.port, path, width, **options)


def flagged(shared, wanted):
    """A picture of which the detector says so."""
    for seed in range(200):
        data = encoded(picture(seed, (240, 200)))
        said = shared.send(data, params={"top": 5}).json()["predictions"][0]
        if said["flag"] is wanted:
            return data, said
    raise AssertionError


@pytest.mark.parametrize("wanted", [True, False], ids=["flagged", "clean"])
def test_a_photo_is_tried(open_page, shared, wanted):
    data, said = flagged(shared, wanted)
    opened = open_page()
    opened.try_photo(data)
    assert said["class"] in opened.text("#answer") and f"{100 * said['probability']:.1f} %" in opened.text("#answer")
    verdict = opened.text("#verdict")
    assert ("do not trust" in verdict) is wanted and said["source_class"] in verdict and "p-value" in verdict
    assert f"{said['p_value']:.1g}"[:4] in verdict
    rows = opened.page.locator("#top tr").all_inner_texts()
    assert [row.split("\t")[0].strip() for row in rows] == [one["class"] for one in said["top"]]
    assert opened.page.locator("#photo").evaluate("image => image.naturalWidth") == 240
    assert opened.errors == []


def test_what_woke_is_drawn(open_page, shared):
    data, said = flagged(shared, True)
    opened = open_page()
    opened.try_photo(data)
    opened.page.get_by_role("button", name="Show what woke").click()
    opened.page.locator("#maps figure").first.wait_for()
    captions = opened.page.locator("#maps figcaption").all_inner_texts()
    assert len(captions) == 2 and said["class"] in captions[0]
    assert said["source_class"] in captions[1] and "source class" in captions[1]
    drawn = opened.page.evaluate("[...document.querySelectorAll('#maps img')].every(one => one.naturalWidth > 0)")
    assert drawn and opened.errors == []


def test_a_photo_is_dropped(open_page, shared):
    opened = open_page()
    opened.page.locator("#work").wait_for()
    transfer = opened.page.evaluate_handle(
        """data => { const made = new DataTransfer();
        made.items.add(new File([new Uint8Array(data)], 'a.png', {type: 'image/png'})); return made; }""",
        list(encoded(picture(1))),
    )
    opened.page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    opened.page.locator("#answer").wait_for()
    assert opened.text("#answer")


def test_trouble_is_said(open_page):
    opened = open_page()
    opened.try_photo(b"no image")
    assert "not an image" in opened.text("#trouble") and not opened.page.locator("#said").is_visible()
    opened.try_photo(bytes(11 << 20))
    assert "this server takes 10 MiB" in opened.text("#trouble")
    opened.try_photo(encoded(picture(1)))
    assert opened.page.locator("#answer").is_visible() and not opened.page.locator("#trouble").is_visible()


def test_only_its_own_server_is_asked_and_only_its_own_script_runs(open_page, shared):
    opened = open_page()
    opened.try_photo(encoded(picture(1)))
    start = f"http://127.0.0.1:{shared.port}/"
    assert all(url.startswith((start, f"blob:{start}", "data:")) for url in opened.asked)
    policy = shared.client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    opened.page.evaluate(
        """() => { const made = document.createElement('script');
        made.textContent = 'window.ran = true'; document.body.append(made); }"""
    )
    assert opened.page.evaluate("window.ran") is None  # an injected script does not run
    refused = opened.page.evaluate("fetch('http://localhost:1/').then(() => 'sent', error => error.name)")
    assert refused == "TypeError"
    assert any("Content Security Policy" in text for text in opened.errors)


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_key_is_asked_for_and_sent(browser, folder, path):
    with running(folder, key=KEY) as held:
        opened = Opened(browser, held.port, path)
        page = opened.page
        page.locator("#keys").wait_for()
        assert not page.locator("#trouble").is_visible()
        for key, wrong in (("another key of sixteen", True), (KEY, False)):
            page.fill("#key", key)
            page.get_by_role("button", name="Use this key").click()
            page.locator("#trouble" if wrong else "#work, details").first.wait_for()
        assert not page.locator("#keys").is_visible() and not page.locator("#trouble").is_visible()
        assert KEY not in page.content() and KEY not in str(opened.asked)
        if path == "/":
            opened.try_photo(encoded(picture(1)))
            assert opened.text("#answer")


def test_where_there_are_no_maps_none_are_offered(browser, folder):
    with running(folder) as held:
        object.__setattr__(held.service.first.opened, "explain", None)  # as of an exported graph
        opened = Opened(browser, held.port)
        opened.try_photo(encoded(picture(1)))
        assert not opened.page.locator("#explain").is_visible()
        assert "--engine torch" in opened.text("#unexplained")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_all_can_be_read_and_reached(open_page, shared, width, scheme):
    """Contrast, landmarks, names of controls: all rules of axe-core; and nothing sticks out."""
    data, _ = flagged(shared, True)
    for path in ("/", "/docs"):
        opened = open_page(path, width, color_scheme=scheme, has_touch=width == PHONE)
        if path == "/":
            opened.try_photo(data)
            opened.page.click("#explain")
            opened.page.locator("#maps figure").first.wait_for()
        else:
            opened.page.locator("details").first.wait_for()
            opened.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        found = axe.Axe().run(opened.page).response["violations"]
        assert [(one["id"], [node["html"][:160] for node in one["nodes"][:3]]) for one in found] == []
        assert opened.page.evaluate("document.documentElement.scrollWidth") == width


def test_the_docs_show_every_route(open_page, shared):
    opened = open_page("/docs")
    opened.page.locator("details").first.wait_for()
    shown = opened.page.locator("details summary").all_inner_texts()
    api = shared.client.get("/openapi.json").json()
    wanted = [f"{verb.upper()} {path}" for path, verbs in api["paths"].items() for verb in verbs]
    assert [" ".join(text.split()) for text in shown] == wanted
    opened.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    text = opened.text("#routes")
    assert "--data-binary @photo.jpg" in text and "X-API-Key" in opened.text("#security")
    assert opened.errors == []


def test_a_model_is_chosen(browser, folder, tmp_path):
    from transferkit.testing.detector import tiny_guarded

    other = tiny_guarded(tmp_path / "other", ["left", "right"])
    with running({"first": folder, "other": other}) as held:
        opened = Opened(browser, held.port)
        opened.try_photo(encoded(picture(1)))
        assert opened.text("#answer").split(",")[0] in ("ants", "bees", "cats", "dogs")
        opened.page.select_option("#model", "other")
        opened.page.locator("#answer", has_text=re.compile("left|right")).wait_for()
        assert "other: 2 classes" in opened.text("#about")
