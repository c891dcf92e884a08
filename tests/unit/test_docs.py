"""The documentation says what the program does: its examples run, its tables are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from drivers.ipmi import REFUSALS
from trigger import cli, errors, events, host
from trigger.clock import Deadline
from trigger.driver import DriverOptions, SendsNmi
from trigger.exit_codes import MEANINGS
from trigger.registry import OURS, load_driver

ROOT = Path(__file__).resolve().parents[2]


class NoPassword:
    """A controller that needs none."""

    def password(self) -> str:
        return ""


def page(name: str) -> str:
    return (ROOT / name).read_text()


def test_every_event_is_documented_with_its_fields() -> None:
    for kind, cls in events.BY_NAME.items():
        names = ", ".join(cls._fields)
        assert f"| {kind} | {names} |" in page("docs/events.md")


def test_the_documented_driver_works() -> None:
    [example] = re.findall(r"```python\n(.*?)```", page("docs/drivers.md"), re.DOTALL)
    namespace: dict[str, object] = {}
    exec(example, namespace)
    driver_class = namespace["AcmeDriver"]
    assert isinstance(driver_class, type)
    driver = driver_class(host.Controller("acme", "acme", "192.0.2.7"), DriverOptions(secrets=NoPassword()))
    assert isinstance(driver, SendsNmi)
    assert driver.send_nmi(Deadline(1)).answer == "yes"


def test_every_driver_and_every_refusal_is_documented() -> None:
    text = page("docs/drivers.md")
    for name in OURS:
        assert f"| {name} |" in text
    documented = {int(code, 16) for code in re.findall(r"0xC\w|0xD\w", text)}
    assert documented == set(REFUSALS)


def test_every_option_of_every_driver_is_documented() -> None:
    rows = re.findall(r"(?m)^\| (`[^|]*`) \| ([a-z0-9, -]+)", page("docs/drivers.md"))
    documented = {
        name: " ".join(options for options, drivers in rows if re.search(rf"\b{name}\b", drivers)) for name in OURS
    }
    for name in OURS:
        known = load_driver(name).OPTIONS
        assert known is not None, name
        for option in known:
            assert re.search(rf"`{option}[`:]", documented[name]), (name, option)


def test_every_exit_code_is_in_the_readme() -> None:
    classes = [item for item in vars(errors).values() if isinstance(item, type) and hasattr(item, "exit_code")]
    codes = {cls.exit_code for cls in classes}
    assert codes >= {3, 4, 5, 6, 7, 8, 9, 10}
    for code in codes - {1}:
        assert re.search(rf"^\| {code} \|", page("README.md"), re.MULTILINE), code


def commands_in(text: str) -> list[list[str]]:
    lines = re.findall(r"^    trigger (.*)$", text, re.MULTILINE)
    return [line.split("#")[0].split("|")[0].split() for line in lines]


def test_the_exit_codes_are_those_of_the_program() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+?) \|", page("docs/exit-codes.md"), re.MULTILINE)
    assert {int(code): title for code, title in rows} == {code: what.title for code, what in MEANINGS.items()}
    for name in ("docs/exit-codes.md", "docs/runbooks.md", "README.md"):
        assert re.search(r"(?i)never power-cycle on 7 (and|or) 10|\*\*never\*\*", page(name)), name


@pytest.mark.parametrize("name", ["README.md", "docs/events.md", "docs/quickstart.md", "docs/security.md"])
def test_every_command_in_the_documentation_exists_with_its_options(name: str) -> None:
    found = commands_in(page(name))
    assert found
    for words in found:
        helped = CliRunner().invoke(cli.trigger, [words[0], "--help"])
        assert helped.exit_code == 0, words
        for option in (word for word in words if word.startswith("--")):
            assert option in helped.output, words


def test_the_documented_policy_is_one(tmp_path: Path) -> None:
    from trigger.policy import file as policy_file

    [example] = re.findall(r"```yaml\n(# /etc/trigger/policy.yaml\n.*?)```", page("docs/security.md"), re.DOTALL)
    path = tmp_path / "policy.yaml"
    path.write_text(example)
    policy = policy_file.read_policy(str(path))
    assert all(part for part in policy), "every key is shown"
    for key in policy_file.KEYS:
        assert f"{key}:" in example


SYSTEM = "--config=/etc/trigger/config.yaml"


@pytest.mark.parametrize(
    ("words", "passed"),
    [
        (["nmi", "server42", "INC1"], ["nmi", SYSTEM, "--reason=INC1", "--", "server42"]),
        (["crash", "--config=/tmp/x"], ["crash", SYSTEM, "--reason=", "--", "--config=/tmp/x"]),
        (["wait", "server42", "--run"], ["wait", SYSTEM, "--", "server42"]),
        (["nmi", "a", "--override alive"], ["nmi", SYSTEM, "--reason=--override alive", "--", "a"]),
        (["preflight", "server42"], []),
        ([], []),
    ],
)  # fmt: skip
def test_the_documented_service_script_passes_no_option_of_its_caller(
    tmp_path: Path, words: list[str], passed: list[str]
) -> None:
    import subprocess

    [script] = re.findall(
        r"```sh\n(#!/bin/sh\n# /usr/local/sbin/crash-host.*?)```", page("docs/security.md"), re.DOTALL
    )
    (tmp_path / "trigger").write_text('#!/bin/sh\nprintf "%s\\n" "$@"; env | grep TRIGGER_\n')
    (tmp_path / "trigger").chmod(0o700)
    text = script.replace("/usr/bin/trigger", str(tmp_path / "trigger"))
    done = subprocess.run(
        ["/bin/sh", "-c", text, "crash-host", *words],
        env={"PATH": "/usr/bin:/bin", "TRIGGER_CONFIG": "/tmp/x"}, capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert done.stdout.splitlines() == passed
    assert (done.returncode == 2) is not bool(passed)


def test_every_rule_of_a_policy_is_documented() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "trigger").glob("policy*.py"))
    for rule in set(re.findall(r'"(policy-[a-z]+)"', sources)) | {"policy", "protected"}:
        assert f"| `{rule}` |" in page("docs/security.md"), rule


def test_every_decision_is_listed() -> None:
    for path in (ROOT / "docs/decisions").glob("0*.md"):
        assert path.name in page("docs/decisions/README.md")


def test_the_help_imports_no_library_that_a_command_needs() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from trigger.cli import main; main(['--help']);"
        "print([m for m in ('pyghmi','pyipmi','redfish','asyncssh','rich','yaml','ClusterShell') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
