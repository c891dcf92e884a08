"""A report is a fold over the journal: what it says, in every form, and that what hosts say stays text."""

from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.unit import incidents
from tests.unit.incidents import HOST, HOSTILE, RUN, Incident
from trigger import cli
from trigger.errors import ConfigError
from trigger.events import Finished, Fired, Firing, Guarded, Planned
from trigger.exit_codes import MEANINGS, NEVER, NOTHING_SENT
from trigger.history import runs_of
from trigger.report.console_excerpt import MAX_LINES, Mark, excerpt, excerpts
from trigger.report.files import find, rendered, write_reports
from trigger.report.fold import Report, fold, read_beside
from trigger.report.plain import next_steps
from trigger.run_files import RunFiles


@pytest.fixture
def whole(tmp_path: Path) -> Incident:
    return incidents.whole(tmp_path / "state")


def report(made: Incident) -> Report:
    return find(made.state, run=made.run)


def test_the_phases_and_gaps_of_a_whole_run(whole: Incident) -> None:
    found = report(whole)
    assert [span.name for span in found.phases] == [
        "before", "fired", "panicked", "crash-kernel", "saving", "saved", "rebooting", "back",
    ]  # fmt: skip
    lengths = {span.name: int(span.end_s - span.begin_s) for span in found.phases}
    assert (lengths["crash-kernel"], lengths["saving"], lengths["rebooting"]) == (6, 62, 44)
    assert [round(gap.end_s - gap.begin_s) for gap in found.gaps] == [30, 31, 44]
    assert found.phases[0].begin_s == 0.0
    assert found.phases[-1].end_s == pytest.approx(found.ended_at - found.began_at)


def test_a_run_without_a_console_has_phases_of_its_target(tmp_path: Path) -> None:
    made = Incident(tmp_path / "state")
    made.fire()
    made.dump()
    made.close()
    assert [span.name for span in report(made).phases] == ["before", "fired", "saving", "saved", "back"]


def test_the_panic_is_marked_in_the_excerpt(whole: Incident) -> None:
    marked = {line.mark: line for line in report(whole).console if line.mark}
    assert "Kernel panic - not syncing: NMI: Not continuing" in marked["panic"].text
    assert marked["panic"].phase == "panicked"
    assert "elfcorehdr=" in marked["crash-kernel"].text
    assert "progress" not in marked


def test_the_excerpt_finds_its_line_whatever_bytes_came_before() -> None:
    before = "gr\u00fc\u00df \ufffd\ufffd dich\r\n" * 900
    said = ["x\r\n" * 5000, before[:777], before[777:], "the panic\r\n", "after\r\n" * 5000]
    cast = [json.dumps([n * 1.5, "o", text]).encode() for n, text in enumerate(said)]
    offset = sum(len(text.encode()) - 2 * text.count("\ufffd") for text in said[:3])
    lines = excerpt([b'{"version": 2}', *cast, b"[3, "], {offset: Mark("panic", "panicked")})
    assert [line.text for line in lines if line.mark] == ["the panic"]
    assert len(lines) == MAX_LINES
    assert lines[0].gap
    without = excerpt(cast, {})
    assert {line.text for line in without} == {"after"}


def test_a_console_that_panics_without_end_does_not_keep_the_report_waiting() -> None:
    """10,000 marks in 5 MB: 2 s. What grows with lines times marks takes many minutes."""
    words = "[ 8123.441420] Kernel panic - not syncing: NMI: Not continuing\r\n" + "a driver says something\r\n" * 18
    cast = [json.dumps([number / 10, "o", words]).encode() for number in range(10_000)]
    marks = [(number * len(words), Mark("panic", "panicked")) for number in range(10_000)]
    begin = time.monotonic()
    lines = excerpts([cast], marks)
    assert time.monotonic() - begin < 60.0
    assert len(lines) == MAX_LINES
    assert {line.mark for line in lines} >= {"panic"}


def test_lines_far_from_a_mark_are_left_out_and_offsets_hold() -> None:
    said = "".join(f"line {number} of what is said before\r\n" for number in range(5000))
    panic = "[ 1.0] Kernel panic - not syncing: x\r\n"
    text = said + panic + said
    cast = [json.dumps([at / 100, "o", text[at : at + 100]]).encode() for at in range(0, len(text), 100)]
    lines = excerpts([cast], [(len(said), Mark("panic", "panicked"))])
    at = next(number for number, line in enumerate(lines) if line.mark)
    assert lines[at].text == panic.strip()
    assert (lines[at - 1].text, lines[at + 1].text) == (said.splitlines()[-1], said.splitlines()[0])
    assert [line.gap for line in lines] == [True, *[False] * (len(lines) - 1)]


def test_a_recording_of_trigger_wait_is_told_from_the_first(tmp_path: Path) -> None:
    made = Incident(tmp_path / "state")
    made.fire()
    made.console(((0.5, "nothing of note\r\n" * 20),))
    made.console()
    made.close()
    assert made.files.recordings() == ["console.cast", "console-2.cast"]
    found = report(made)
    assert "panic" in {line.mark for line in found.console}
    assert "nothing of note" not in {line.text for line in found.console}


def test_the_chain_of_the_journal_is_checked(whole: Incident) -> None:
    path = whole.state.host_folder(HOST) / "journal.jsonl"
    assert report(whole).chain.broken_at == -1
    lines = path.read_text().splitlines()
    from hashlib import sha256

    assert report(whole).chain.head == sha256(lines[-1].encode()).hexdigest()
    lines[5] = lines[5].replace("panicked", "ignored!")
    path.write_text("\n".join(lines) + "\n")
    assert report(whole).chain.broken_at == 6
    assert "BROKEN" in rendered(report(whole), "text")


class Tags(HTMLParser):
    """Collects a page's elements and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_loads_nothing_runs_nothing_and_keeps_hostile_text_as_text(whole: Incident) -> None:
    page = rendered(report(whole), "html")
    tags = Tags()
    tags.feed(page)
    names = {tag for tag, _ in tags.tags}
    assert not names & {"script", "img", "b onmouseover", "link", "iframe", "object", "form", "a"}
    assert not any(
        name.startswith("on") or name in ("src", "href", "style") for _, attrs in tags.tags for name in attrs
    )
    policy = next(a["content"] for t, a in tags.tags if t == "meta" and "Content-Security-Policy" in a.values())
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert tags.text.count("onerror=alert(1)") == 3  # console, first look, event log
    assert "{{7*7}}" in tags.text
    assert "\u202e" not in page
    assert "\x1b" not in page


def test_every_form_says_the_same_and_no_password(whole: Incident) -> None:
    forms = {form: rendered(report(whole), form) for form in ("text", "md", "html", "json")}
    for form, text in forms.items():
        assert incidents.DUMP in text, form
        assert "s3cret" not in text, form
        assert "jbd2/dm-0" in text, form
        assert report(whole).chain.head in text, form
    assert "on its own clock" in forms["text"]
    assert "Power Unit" not in forms["text"], "that entry was there before"
    data = json.loads(forms["json"])
    assert (data["exit_code"], data["finished"]["sent"], data["v"]) == (0, "yes", 1)
    assert data["preflight"]["verdicts"] == {"kdump-loaded": "pass", "target-tried": "warn"}


def test_markdown_cannot_be_ended_by_what_a_host_says(tmp_path: Path) -> None:
    made = Incident(tmp_path / "state")
    made.fire()
    made.console(((0.5, "```\r\n# Not our heading\r\n[click](javascript:x) | cell\r\n````\r\n"),))
    made.say(Finished(9, "yes", "| `x` <b> [y](z)", "", "yes", "*why*"))
    made.close()
    text = rendered(report(made), "md")
    fence = next(line for line in text.splitlines() if line.startswith("`````"))
    inside = text.split(fence)[1]
    assert "# Not our heading" in inside
    assert "| says | \\| \\`x\\` &lt;b> \\[y\\](z) |" in text


@pytest.mark.parametrize("code", sorted(MEANINGS))
def test_every_exit_code_has_steps(tmp_path: Path, code: int) -> None:
    made = Incident(tmp_path / "state")
    made.fire()
    made.say(Finished(code, "yes", "said", safe_to_power_cycle="unknown", next="trigger wait server42"))
    made.close()
    text = rendered(report(made), "text")
    assert "`trigger wait server42`" in text
    assert (NEVER in text) == (code in (0, 7, 10)), "a 0 that is not safe is one of --no-wait"
    assert "HOST" not in text


@pytest.mark.parametrize(("dump", "safe"), [("", "no"), ("/d/vmcore-incomplete", "no"), ("/d/vmcore", "unknown")])
def test_a_zero_without_a_proved_dump_is_no_permission(tmp_path: Path, dump: str, safe: str) -> None:
    """--no-wait, --until crashed and --until landed end with 0, and the dump may still be being written."""
    made = Incident(tmp_path / "state")
    made.fire()
    made.say(Finished(0, "yes", "accepted", dump, safe, "a dump may be being written", "trigger wait server42"))
    made.close()
    for form in ("text", "md", "html", "json"):
        text = rendered(report(made), form)
        assert NEVER in text, form
        assert "put back to work" not in text, form
        assert "a complete dump has landed" not in text, form
    assert '<header class="open">' in rendered(report(made), "html")


def ladder(folder: Path, *outcomes: str) -> Incident:
    """Return a run of several rungs; "" is one whose answer the program did not live to see."""
    made = Incident(folder)
    for number, outcome in enumerate(outcomes, 1):
        made.say(Firing(f"way{number}", "ipmi", f"192.0.2.{number}", f"request {number}", (), 1.0), after_s=5.0)
        if outcome:
            made.say(Fired(f"way{number}", outcome, f"answer {number}"), after_s=0.2)
    made.close()
    return made


@pytest.mark.parametrize(
    ("outcomes", "history"),
    [
        (("refused", ""), "unknown"),
        (("refused", "accepted"), "accepted"),
        (("accepted", "refused"), "accepted"),
        (("unknown", "refused"), "unknown"),
        (("refused", "refused"), "refused"),
    ],
)
def test_a_ladder_has_sent_something_when_any_rung_may_have(
    tmp_path: Path, outcomes: tuple[str, ...], history: str
) -> None:
    """A program that is killed on its second rung has not sent nothing because the first was refused."""
    made = ladder(tmp_path / "state", *outcomes)
    found = report(made)
    assert found.sent == (history != "refused")
    for form in ("text", "md", "html"):
        text = rendered(found, form)
        assert ("Do not power-cycle" in text) == (history != "refused"), form
        for number in (1, 2):
            assert f"request {number}" in text
            assert f"way{number} (ipmi) at 192.0.2.{number}" in text
    assert [(shot.controller, shot.outcome) for shot in found.shots] == [
        ("way1", outcomes[0]),
        ("way2", outcomes[1] or "unknown"),
    ]
    assert rendered(found, "html").count('<line class="fired"') == 2
    [past] = runs_of(made.state, HOST)
    assert past.outcome == history


def test_the_fire_begins_with_the_request_and_not_with_a_late_answer(tmp_path: Path) -> None:
    made = Incident(tmp_path / "state")
    made.say(Firing("ipmi", "ipmi", "192.0.2.1", "r", (), 1.0), after_s=2.0)
    made.say(Fired("ipmi", "unknown", "no answer"), after_s=30.0)
    made.close()
    spans = report(made).phases
    assert [(span.name, round(span.end_s - span.begin_s)) for span in spans] == [("before", 0), ("fired", 30)]


def test_a_step_is_said_once(tmp_path: Path) -> None:
    made = incidents.silent(tmp_path / "state")
    steps = next_steps(report(made))
    assert sum("`trigger wait server42`" in step for step in steps) == 1
    assert steps[0] == NEVER


def test_keys_that_are_no_shot_are_not_called_a_dump(tmp_path: Path) -> None:
    for number, (code, sent, said) in enumerate([(0, "yes", "keys sent, no shot"), (6, "maybe", "perhaps sent")]):
        made = Incident(tmp_path / str(number))
        made.say(Planned("sysrq t", (), 1.0, "", "ops"), Finished(code, sent, "sysrq t"))
        made.close()
        text = rendered(report(made), "text")
        assert said in text
        assert "nothing was sent" not in text.lower()
        assert NOTHING_SENT not in text
        assert "put back to work" not in text


def test_a_run_without_an_end_does_not_say_that_it_is_safe(tmp_path: Path) -> None:
    made = Incident(tmp_path / "state")
    made.fire()
    made.close()
    for form in ("text", "md", "html"):
        assert "Do not power-cycle" in rendered(report(made), form), form


@pytest.mark.parametrize("refused", ["guard", "controller"])
def test_a_run_that_sent_nothing_says_so(tmp_path: Path, refused: str) -> None:
    made = Incident(tmp_path / "state")
    if refused == "guard":
        made.say(Guarded(False, "alive", "server42 is alive."))
    else:
        made.say(Firing("ipmi", "ipmi", "192.0.2.1", "r", (), 1.0), Fired("ipmi", "refused", "0xC1"))
    made.close()
    for form in ("text", "html"):
        text = rendered(report(made), form)
        assert "othing was " in text, form
        assert "trigger wait" not in text, form


def test_a_damaged_incident_folder_still_gives_a_report(whole: Incident) -> None:
    folder = whole.files.path
    (folder / "event-log-after.json").write_text('{"entries": [1, {"time": "x", "text": 3}, {"time": 1e300}]}')
    (folder / "first-look.json").write_text("[]")
    (folder / "preflight.json").write_text('{"written_at": "x", "verdicts": 3, "not_ready_reasons": 4}')
    (folder / "console.cast").write_bytes(b'\xff\xfe\n[1,"o"]\n["x","o","y"]\n[NaN,"o","z\\n"]\n[1e999,"o","z\\n"]\n')
    whole.files.write("notes.json", b'{"notes": 5}')
    for form in ("text", "md", "html", "json"):
        assert incidents.DUMP in rendered(report(whole), form)


def test_the_fold_needs_no_folder(whole: Incident) -> None:
    from trigger.journal import read_journal

    lines = read_journal(whole.state, HOST)
    assert fold(lines, "another") is None
    bare = fold(lines, RUN)
    assert bare is not None
    assert bare.console == ()
    assert fold(lines, RUN, read_beside(whole.files)) == report(whole)


def test_the_folder_holds_reports_for_their_owner_alone(whole: Incident) -> None:
    page = write_reports(whole.state, HOST, RUN)
    assert page == whole.files.path / "report.html"
    for name in whole.files.sizes():
        assert (whole.files.path / name).stat().st_mode & 0o777 == 0o600, name
    assert whole.files.path.stat().st_mode & 0o777 == 0o700


def test_run_files_follow_no_link_and_no_other_path(whole: Incident, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("theirs")
    (whole.files.path / "notes.json").symlink_to(target)
    assert whole.files.read("notes.json") is None
    whole.files.write("notes.json", b"ours")
    assert (target.read_text(), whole.files.read("notes.json")) == ("theirs", b"ours")
    for name in ("../x", "a/b", "", "..", "x" * 99):
        with pytest.raises(ConfigError, match="not the id of a run"):
            RunFiles(whole.state, HOST, name)


def command(whole: Incident, tmp_path: Path, *words: str) -> tuple[int, str]:
    config = tmp_path / "config.yaml"
    config.write_text(f"state_dir: {whole.state.path}\n")
    done = CliRunner().invoke(cli.trigger, ["report", *words, "--config", str(config)])
    return (done.exit_code if not isinstance(done.exception, ConfigError) else 3), done.output


def test_the_command_finds_the_newest_run_or_the_named_one(whole: Incident, tmp_path: Path) -> None:
    late = incidents.silent(tmp_path / "state")
    assert f"run {late.run}," in command(whole, tmp_path)[1]
    assert f"run {RUN}," in command(whole, tmp_path, RUN)[1]
    assert f"run {late.run}," in command(whole, tmp_path, "--host", HOST)[1]
    assert command(whole, tmp_path, "20200101T000000-000000")[0] == 3
    assert command(whole, tmp_path, "--host", "server43")[0] == 3


@pytest.mark.parametrize(
    ("name", "begin"), [("a.html", "<!doctype"), ("a.md", "# server42"), ("a.json", "{"), ("a", "server42:")]
)
def test_the_output_file_names_its_form_and_is_private(whole: Incident, tmp_path: Path, name: str, begin: str) -> None:
    path = tmp_path / name
    code, _ = command(whole, tmp_path, RUN, "-o", str(path))
    assert code == 0
    assert path.read_text().startswith(begin)
    assert path.stat().st_mode & 0o777 == 0o600
    assert command(whole, tmp_path, "-o", str(tmp_path / "no" / "such"))[0] == 3


def test_the_journal_line_of_hostile_text_is_harmless_in_a_terminal(whole: Incident) -> None:
    assert HOSTILE not in rendered(report(whole), "text")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", rendered(report(whole), "text"))
