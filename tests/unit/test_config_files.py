"""Files that are no configuration, and the two ways to read one that is: in pieces, and whole."""

from __future__ import annotations

import contextlib
import os
import random
import textwrap
import threading
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yaml.nodes import MappingNode, Node, ScalarNode

from trigger.config import file as config_file
from trigger.config.file import ConfigFile
from trigger.config.loading import Config, load
from trigger.config.yaml_nodes import Problems
from trigger.errors import ConfigError


def refusal(file: Path) -> ConfigError:
    begin = time.process_time()
    with pytest.raises(ConfigError) as caught:
        load(file).host("server42")
    assert time.process_time() - begin < 1.0
    assert caught.value.exit_code == 3
    assert "hunter2" not in str(caught.value) + caught.value.next_step
    return caught.value


GOOD = b"hosts:\n  server42: {tags: [web]}\n"

BAD_BYTES = [
    (b"\x7fELF\x02\x01\x01\x00\x00", "{file}:1: is a binary file"),
    (b"\xff\xfeh\x00o\x00", "{file}:1: is UTF-16, not UTF-8"),
    (b"hosts:\n  \xe9: {}\n", "{file}:2: is not UTF-8 text"),
    (b"hosts:\n  a: \xed\xa0\x80\n", "{file}:2: is not UTF-8 text"),
    (b"hosts:\n\n  server42: {a: \x1b[31m}\n", "{file}:3: has the invisible character U+001B in it"),
    ("hosts:\n  server42: {a: \u2028}\n".encode(), "{file}:2: has the invisible character U+2028 in it"),
    (b"- server42\n", "{file}:1: must be a mapping with the key `hosts`, not a list or a text"),
    (b"# nothing\nserver42\n", "{file}:2: must be a mapping with the key `hosts`, not a list or a text"),
    (b"", "{file}: names no hosts, so not server42 either"),
    (b"# only a comment\n", "{file}: names no hosts, so not server42 either"),
    (b"hosts:\n", "{file}: names no hosts, so not server42 either"),
    (b"hosts: ~\n", "{file}: names no hosts, so not server42 either"),
    (b"hosts: [server42]\n", "{file}: names no hosts, so not server42 either"),
    (b"hosts:\n  server42: {\n", "{file}:3: has a [ or { that is not closed; close it, and put commas"),
    (b"hosts:\n  server42: 'a\n", "{file}:3: has a quote that is not closed; close the quote"),
    (b"hosts:\n\tserver42: {}\n", "{file}:2: has a tab or a special character here; indent with spaces"),
    (b"hosts:\n  server42: {user: @hunter2}\n", "{file}:2: has a tab or a special character here"),
    (b"hosts:\n  server42:\n  server43\n", "{file}:4: has a key without a ':'"),
    (b"hosts:\n  server42: a: hunter2\n", '{file}:2: has a ": " where none can be; quote a text that has ": "'),
    (b"hosts:\n  server42: {}\n other: {}\n", "{file}:3: is indented differently from the lines above; line it up"),
    (b"hosts: {}\n---\nhosts: {}\n", "{file}:2: has a second document (---); keep one document"),
    (b'hosts: {server42: "\\q"}\n', "{file}:1: has an unknown \\ in a double-quoted text"),
    (b"hosts: {server42: {password: *hunter2}}\n", "{file}:1: uses an alias (*), which is not allowed"),
    (b"hosts: {a: &hunter2 x, b: &hunter2 y}\n", "{file}:1: uses an anchor (&) twice, and none is allowed"),
    (b"hosts: {server42: !a!hunter2 x}\n", "{file}:1: uses a tag (!), which is not allowed"),
    (b"hosts: " + b"[" * 100_000, "{file}:1: is nested more than 200 levels deep"),
    (b"hosts:\n" + b"- " * 100_000, "{file}:2: is nested more than 200 levels deep"),
    (
        b"hosts:\n server42:\n" + b"".join(b" " * n + b"a:\n" for n in range(2, 2000)),
        "{file}:202: hosts.server42: is nested more than 200 levels deep",
    ),
    (b"hosts:\n  a: " + b"{a: " * 5_000, "{file}:2: is nested more than 200 levels deep"),
]


@pytest.mark.parametrize(("content", "message"), BAD_BYTES)
def test_bad_files(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    assert str(refusal(file)).startswith(message.replace("{file}", str(file)))


def test_an_empty_file_is_a_problem_of_the_check(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(b"")
    assert [str(problem) for problem in load(file).check()] == [
        f"{file}: is empty; begin with a copy of config.example.yaml"
    ]


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbf" + GOOD, GOOD.replace(b"\n", b"\r\n"), GOOD.replace(b"\n", b"\r"), GOOD + b"\n# \xc3\xa9\n"],
)
def test_line_ends_and_byte_order_marks(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    assert load(file).host("server42").where == f"{file}:2"
    assert load(file).check() == []


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    with file.open("wb") as sparse:
        sparse.truncate(100 * 1024 * 1024)
    assert str(refusal(file)) == f"{file}: is larger than 64 MiB and was not read; is this the configuration?"


def test_a_folder_and_a_loop_of_links(tmp_path: Path) -> None:
    assert str(refusal(tmp_path)) == f"{tmp_path}: cannot be read: Is a directory"
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    assert str(refusal(loop)) == f"{loop}: cannot be read: Too many levels of symbolic links"


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(GOOD)
    file.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)  # root may read anything
    try:
        assert str(refusal(file)) == f"{file}: cannot be read: Permission denied"
    finally:
        if root:
            os.seteuid(0)


def test_many_unbalanced_brackets_in_quotes_and_comments_are_not_depth(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    comments = "".join(f"  # see [{number}\n" for number in range(300))
    file.write_text("hosts:\n" + comments + '  server42: {tags: [web]} # [\n  other: {tags: ["' + "[" * 300 + '"]}\n')
    assert load(file).host("server42").tags == ("web",)


# --- in pieces and whole --------------------------------------------------------------------------------------


def described(node: Node) -> object:
    """Return a node as plain values with its line and style."""
    if isinstance(node, ScalarNode):
        return (node.value, node.style or "")
    if isinstance(node, MappingNode):
        return [(described(key), described(value)) for key, value in node.value]
    return ["list", *(described(item) for item in node.value)]


def entries(parsed: ConfigFile) -> list[object]:
    found: list[object] = []
    for entry in parsed.entries:
        problems = Problems()
        branch = entry.compose(problems)
        if branch is None:
            found.append((entry.key, entry.line, None))
        else:
            lines = [branch.line_of(branch.node), branch.line]
            found.append((entry.key, entry.line, branch.path, lines, described(branch.node)))
    return found


PLAIN = textwrap.dedent(
    """\
    # A comment.
    defaults: {ssh: {user: root}}
    hosts:   # the hosts
      # one
      "server[01-48]":
        tags: [web,
          site-fra]
        note: |
          a text
            with lines:
          end
      'other':

        tags: ["a", 'b']
        folded: "one
          two"
      lone: {tags: [db]}
    # and on
    state_dir: /srv
    """
)


def test_a_file_in_the_usual_style_is_read_in_pieces() -> None:
    pieces = config_file.in_pieces(PLAIN, "x")
    assert pieces is not None
    whole = config_file.whole(PLAIN, "x")
    assert [entry.key for entry in pieces.entries] == ["server[01-48]", "other", "lone"]
    assert entries(pieces) == entries(whole)
    assert list(pieces.top) == list(whole.top)
    assert pieces.top["state_dir"].line == whole.top["state_dir"].line == 19


@pytest.mark.parametrize(
    "text",
    [
        'note: "x\nhosts:\n  a: {}\n"\nhosts:\n  b: {}\n',
        "hosts:\n  a: {}\nhosts:\n  b: {}\n",
        "hosts:\n  a: {}\n\t\n  b: {}\n",
        "hosts:\n  a: {tags: [\n  b: {},\n  ]}\n",
        'hosts:\n  a: "x\n  b: y"\n  c: {}\n',
        "hosts:\n  a: {}\n - b\n",
        "hosts:\n  a: {}\n  ? b\n  : {}\n",
        "hosts:\n  a: {}\n  b : {}\n",
        "hosts:\n  a: {}\n---\nhosts: {}\n",
        "note: |\n  x\n hosts:\n  a: {}\n",
        "hosts: {\n  a: {}}\n",
        "hosts:#x\n  a: {}\n",
    ],
)
def test_a_file_that_cannot_be_cut_is_read_whole(text: str) -> None:
    assert config_file.in_pieces(text, "x") is None


_SCRAPS = (
    *"[]{}\"':\t#|>,%\\~x`",
    *(" ", "\n", "\n  ", "\n    ", "\n\n", "- ", "? ", "---\n", "...\n", "&a ", "*a", "!t "),
    *("hosts:", "\nhosts:\n", "  b:\n", "\n  b: x", "\n  - y"),
)
_scraps = st.sampled_from(_SCRAPS)
_edits = st.lists(
    st.tuples(st.integers(0, len(PLAIN)), st.integers(0, 6), st.lists(_scraps, max_size=3).map("".join)), max_size=4
)


@settings(max_examples=1500, deadline=None)
@example([(60, 0, '"')])
@example([(242, 2, "|\n\n")])
@given(_edits)
def test_whatever_is_read_in_pieces_is_read_the_same_whole(edits: list[tuple[int, int, str]]) -> None:
    """Cutting must never see an entry that YAML does not see, whatever stands in the lines before."""
    text = PLAIN
    for position, cut, scrap in edits:
        text = text[:position] + scrap + text[position + cut :]
    pieces = config_file.in_pieces(text, "x")
    if pieces is None:
        return
    try:
        whole = config_file.whole(text, "x")
    except ConfigError as error:
        # Only what joins two entries: an alias or anchor, which each entry reports by itself.
        assert "alias" in str(error) or "anchor" in str(error) or "tag" in str(error)
        return
    if "*" not in text and "&" not in text:
        assert entries(pieces) == entries(whole)
    assert [entry.key for entry in pieces.entries] == [entry.key for entry in whole.entries]
    assert [entry.line for entry in pieces.entries] == [entry.line for entry in whole.entries]
    assert {key: branch.line for key, branch in pieces.top.items()} == {
        key: branch.line for key, branch in whole.top.items()
    }


# --- anything at all ------------------------------------------------------------------------------------------

_WORDS = """
hosts defaults ssh controllers driver address port user password env file command keyring prompt tls options
cipher_suite system privilege tags dump target identity uuid serial protected server[01-48] server42 {host} ipmi
10.1.0.7 fe80::1 yes 010 10:22 1e3 ~ null true << = & * ! | > @ ` % --- ... - ? : , # [ ] { } " ' \\
"""
_ODDITIES = (
    "\n",
    "\n  ",
    "\n    ",
    "\n      - ",
    ": ",
    "&a ",
    "*a",
    "!!x ",
    "\\x1b",
    "é",
    "\t",
    "\x00",
    "\x1b",
    "\u2028",
)
_words = st.sampled_from((*_WORDS.split(), *_ODDITIES))
_texts = st.one_of(st.lists(_words, max_size=60).map("".join), st.lists(_words, max_size=40).map(" ".join), st.text())


def use_everything(file: Path) -> None:
    """Ask a configuration for all it has; raises nothing but ConfigError."""
    try:
        found: Config = load(file)
    except ConfigError:
        return
    problems = found.check({"ipmi"})
    assert all(str(problem).startswith(str(file)) and str(problem).isprintable() for problem in problems)
    for name in ["server42", *found.host_names()[:3]]:
        found.warnings_for(name)
        for ask in (lambda n=name: found.host(n), lambda: found.state_dir, lambda: found.dump_stores):
            try:
                ask()
            except ConfigError as error:
                assert error.exit_code == 3
    for pattern in ("@web", "server*", "server42"):
        with contextlib.suppress(ConfigError):
            found.select([pattern])


@settings(max_examples=1000, deadline=2000)
@given(_texts)
def test_no_text_raises_anything_but_a_configuration_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    use_everything(file)


def test_a_pipe_is_read_and_one_that_nobody_writes_to_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Timer(0.2, pipe.write_bytes, (GOOD,))
    writer.start()
    assert load(pipe).host_names() == ["server42"]
    writer.join(60)
    monkeypatch.setattr(config_file, "_PIPE_SECONDS", 0.1)
    assert refusal(pipe).message == f"{pipe}: is a pipe, and nobody wrote to it within 0 s"


@settings(max_examples=300, deadline=2000)
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_configuration_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    file.write_bytes(content)
    use_everything(file)


def test_a_good_file_with_one_character_changed(tmp_path: Path) -> None:
    good = (Path(__file__).parents[2] / "config.example.yaml").read_text()
    chance = random.Random(7)
    file = tmp_path / "config.yaml"
    for _ in range(150):
        position = chance.randrange(len(good))
        change = chance.choice(["", "\n", " ", '"', "'", "[", "}", ":", "#", "&", "*", "-", "\t", "é", "0"])
        file.write_text(good[:position] + change + good[position + 1 :])
        use_everything(file)


@pytest.mark.parametrize(
    "text",
    [
        "hosts: {server42: {user: " + "1" * 200_000 + "x}}",
        "hosts: {server42: {user: " + "0:1" * 100_000 + "}}",
        "hosts: {" + "a" * 300_000 + ": {}}",
        "hosts: {'" + "a[1]," * 50_000 + "': {}}",
        "hosts: {server42: {controllers: [{driver: ipmi, address: '" + "a." * 100_000 + "'}]}}",
        "hosts: {server42: {controllers: [{driver: ipmi, address: '" + "{host}" * 50_000 + "'}]}}",
        "hosts: {server42: {dump: {target: '" + "a:" * 100_000 + "'}}}",
        "hosts:\n" + "  server42: {}\n" * 3_000,
        "hosts: {server42: {" + "a: b, " * 20_000 + "}}",
    ],
)
def test_long_texts_take_no_long_time(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    begin = time.process_time()
    use_everything(file)
    assert time.process_time() - begin < 5.0
