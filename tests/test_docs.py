"""What the documentation says is so: generated pages are current, links lead somewhere, commands exist, dependencies are told."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from docs import generate

from covey.cli.reference import commands

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")])
IDS = [str(path.relative_to(ROOT)) for path in PAGES]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`(covey [^`]+)`")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
PROMPT = re.compile(r"^(?:[#$] )?(?:sudo )?(?:bin/)?(covey .*)$")
# Sites install from mirrors of their own: no page may tell them where the packages are. In pieces, as this file is searched as well.
HOSTS = ["deb." + "debian.org", "pypi" + ".org", "pythonhosted" + ".org", "registry." + "npmjs", "ghcr" + ".io", "docker" + ".io"]
MADE = generate.pages()
COMMANDS = {context.command_path: (command, context) for command, context in commands()}


@pytest.mark.parametrize("name", sorted(MADE))
def test_the_generated_pages_are_what_the_code_says(name: str) -> None:
    written = (generate.REFERENCE / name).read_text()
    assert written == MADE[name], f"docs/reference/{name} is old: run `make docs`"


def test_the_default_settings_are_what_the_code_says() -> None:
    for name, text in generate.packaged().items():
        assert (generate.PACKAGING / name).read_text() == text, f"packaging/{name} is old: run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_link_within_the_documentation_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(without_blocks(page.read_text())):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_that_is_shown_exists_with_its_options(page: Path) -> None:
    for line in shown_commands(page.read_text()):
        check_command(line)


def test_a_command_that_does_not_exist_would_be_found() -> None:
    for wrong in ("covey instance frobnicate web1", "covey instance add web1 --disc 4G", "covey wobble", "covey disk grow"):
        with pytest.raises(AssertionError):
            check_command(wrong)


def test_the_dependencies_are_those_of_the_project_with_a_reason_each() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (ROOT / "docs/dependencies.md").read_text()
    run, develop = page.split("## To test and develop")
    assert named(run) == required(project["dependencies"])
    assert named(develop) == required(project["optional-dependencies"]["dev"])


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        links = (link.partition("#")[0] for link in LINK.findall(page.read_text()) if "://" not in link)
        targets = ((page.parent / link).resolve() for link in links if link.endswith(".md"))
        waiting += [target for target in targets if target not in reached]
    assert set(PAGES) <= reached


def test_no_page_names_the_host_of_a_registry() -> None:
    texts = [*PAGES, *ROOT.glob("docs/**/*.svg"), *ROOT.glob("docs/**/*.json"), *ROOT.glob("docs/**/*.py"), Path(__file__)]
    found = [(path.name, host) for path in texts for host in HOSTS if host in path.read_text()]
    assert not found


# --- reading pages -----------------------------------------------------------------------------------------------------------------
def without_blocks(text: str) -> str:
    return BLOCK.sub("", text)


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as the usual viewers of Markdown make them."""
    headings = HEADING.findall(without_blocks(page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def shown_commands(text: str) -> Iterator[str]:
    """Commands of Covey that a reader may type: lines of code blocks without a language, and code within sentences."""
    for language, block in BLOCK.findall(text):
        if language == "":
            for line in block.splitlines():
                if (match := PROMPT.match(line)) and not re.match(r"covey:|covey (runs|agent|controller)\b", match[1]):
                    yield match[1]
    yield from (span for span in SPAN.findall(without_blocks(text)) if is_whole(span))


def is_whole(span: str) -> bool:
    """Not a pattern such as `covey NOUN VERB`, and not the name of a command alone (`covey instance info`)."""
    words = span.split()
    return len(words) > 1 and words[1].islower() and " ".join(words) not in COMMANDS and "..." not in words


def check_command(line: str) -> None:
    """The command is there, takes these options, and is given what it needs."""
    words = shlex.split(re.split(r" (?:[<>|]|\[)", line)[0])[1:]
    words = drop_connection(words)
    if words == ["--help"]:
        return
    path = "covey"
    while words and f"{path} {words[0]}" in COMMANDS:
        path = f"{path} {words.pop(0)}"
    command, _ = COMMANDS[path]
    assert not isinstance(command, click.Group), f"{line}: there is no such command"
    known = {name: option for option in command.params if isinstance(option, click.Option) for name in option.opts}
    arguments = 0
    while words:
        word = words.pop(0)
        if word == "--":  # what follows is for a guest
            arguments += bool(words)
            break
        if not word.startswith("-") or word == "-":
            arguments += 1
            continue
        assert word in known, f"{line}: {path} has no option {word}"
        if not known[word].is_flag:
            assert words, f"{line}: {word} needs a value"
            words.pop(0)
    wanted = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    needed = sum(1 for argument in wanted if argument.required)
    assert needed <= arguments <= len(wanted), f"{line}: {path} takes {[argument.name for argument in wanted]}"


def drop_connection(words: list[str]) -> list[str]:
    """The command without the options that stand before its noun."""
    group, _ = COMMANDS["covey"]
    own = {name for option in group.params if isinstance(option, click.Option) for name in option.opts}
    while words and words[0] in own:
        words = words[2:]
    return words


# --- reading the project -----------------------------------------------------------------------------------------------------------
def named(text: str) -> list[str]:
    """The first column of the tables, each with something in the second."""
    rows = re.findall(r"^\| ([a-z][a-z0-9-]*) \| (.+) \|$", text, re.MULTILINE)
    return [name for name, why in rows if len(why) > 10]


def required(entries: list[str]) -> list[str]:
    return [re.split(r"[<>=~! ]", entry)[0] for entry in entries]
