"""The documents agree with the tree and with each other."""
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/*/README.md"), *ROOT.glob("handlers/*.md")]


def anchors(page):
    """What a heading is called in a link, as most renderers have it."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_link_leads_somewhere():
    broken, seen = [], 0
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if re.match(r"[a-z]+:", link):
                continue
            seen += 1
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert not broken and seen > 20


def test_every_page_is_named_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    assert [p.name for p in (ROOT / "docs").glob("*.*") if f"docs/{p.name}" not in readme] == []


def test_decisions_have_numbers_of_their_own():
    decisions = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [int(d.name[:4]) for d in decisions] == list(range(1, len(decisions) + 1))
    for d in decisions:
        assert re.match(rf"# {int(d.name[:4])}\. ", d.read_text()), d.name
