"""The runbooks of the documentation, as they stand there: run for real, and with every exit code there is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.program import Bench
from trigger.exit_codes import MEANINGS

Benches = Callable[..., Bench]
ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/runbooks.md").read_text()
NEVER = (7, 10, 124, 137)  # nobody power-cycles on these
# What the last line says with a code, as trigger/verdict.py has it.
SAFE = {0: "yes", 8: "yes", 9: "yes", 7: "unknown", 10: "no"}


def block(heading: str, language: str, number: int = 0) -> str:
    """Return a code block of the page."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return found[number]


def program(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path


def real_trigger(folder: Path) -> None:
    """Put the real program into a folder of the search path."""
    program(folder, "trigger", f'#!/bin/sh\nexec {sys.executable} -m trigger "$@"\n')


def pretend_trigger(folder: Path, codes: list[int], safe: dict[int, str] | None = None) -> Path:
    """Put a program there that ends with one code after the other, says what trigger says, and notes its calls.

    `safe` is what it says, by the number of the call, instead of what is usual.
    """
    calls = folder / "calls"
    texts = []
    for turn, code in enumerate(codes, 1):
        last = {"event": "Finished", "exit_code": code, "sent": "maybe", "text": f"said {code}", "dump": "/d/vmcore"}
        last |= {
            "safe_to_power_cycle": (safe or {}).get(turn, SAFE.get(code, "unknown")),
            "safe_reason": "",
            "next": f"next {code}",
        }
        said = f"echo '{json.dumps(last)}'" if code in MEANINGS and code not in (1, 2) else "true"
        texts.append(f"{turn}) {said}; exit {code};;")
    script = (
        f'#!/bin/sh\necho "$*" >> {calls}\ncase $(wc -l < {calls}) in\n' + "\n".join(texts) + "\n*) exit 99;;\nesac\n"
    )
    program(folder, "trigger", script)
    return calls


def run(words: list[str], folder: Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    path = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    whole = {**(environment or {"HOME": str(folder)}), "PATH": path, "LC_ALL": "C.UTF-8"}
    return subprocess.run(words, env=whole, cwd=folder, capture_output=True, text=True, timeout=120)


def shell_script(folder: Path) -> Path:
    return program(folder, "crash-dump", block("A shell script", "sh"))


def test_the_shell_script_for_real(bench: Benches, tmp_path: Path) -> None:
    b, bin_folder = bench(), tmp_path / "bin"
    script = shell_script(bin_folder)
    real_trigger(bin_folder)
    done = run(
        [str(script), b.host, "INC-1"], bin_folder, {**b.environment(), "TRIGGER_OPTIONS": "--override no-record"}
    )
    assert done.returncode == 0, done.stderr
    assert "complete dump: " in done.stdout
    assert "vmcore" in done.stdout
    assert b.machine.delivered() == 1


def test_the_shell_script_for_real_where_nothing_is_seen(bench: Benches, tmp_path: Path) -> None:
    b, bin_folder = bench(host="dead", crash="never"), tmp_path / "bin"
    script = shell_script(bin_folder)
    real_trigger(bin_folder)
    more = {"TRIGGER_OPTIONS": "--override no-record --deadline 1s", "MAX_WAITS": "0"}
    done = run([str(script), b.host, "INC-1"], bin_folder, {**b.environment(), **more})
    assert done.returncode == 10, done.stderr
    assert "DO NOT POWER-CYCLE" in done.stderr
    assert b.machine.delivered() == 1


@pytest.mark.parametrize("code", [*sorted(MEANINGS), 124, 137])
def test_the_shell_script_on_every_code(tmp_path: Path, code: int) -> None:
    bin_folder = tmp_path / "bin"
    script = shell_script(bin_folder)
    calls = pretend_trigger(bin_folder, [code] * 4)
    done = run([str(script), "server42", "a reason"], bin_folder)
    called = calls.read_text().splitlines()
    assert [line.split()[0] for line in called] == (["nmi"] + ["wait"] * 3 if code in NEVER else ["nmi"])
    assert called[0] == "nmi server42 --confirm server42 --reason a reason --json"
    assert ("DO NOT POWER-CYCLE" in done.stderr) == (code in NEVER)
    assert ("nothing was sent" in done.stderr) == (code in range(1, 7))
    assert done.returncode == code
    assert ("PAGE: " in done.stderr) == (code != 0)


def test_the_shell_script_takes_the_answer_of_the_wait(tmp_path: Path) -> None:
    bin_folder = tmp_path / "bin"
    script = shell_script(bin_folder)
    calls = pretend_trigger(bin_folder, [10, 7, 0])
    done = run([str(script), "server42", "x"], bin_folder)
    assert (done.returncode, len(calls.read_text().splitlines())) == (0, 3)
    assert "complete dump: /d/vmcore" in done.stdout


@pytest.mark.parametrize("failed", range(1, 7))
def test_a_wait_that_fails_does_not_take_back_the_shot(tmp_path: Path, failed: int) -> None:
    bin_folder = tmp_path / "bin"
    script = shell_script(bin_folder)
    pretend_trigger(bin_folder, [10, *[failed] * 3])
    done = run([str(script), "server42", "x"], bin_folder)
    assert done.returncode == 10, "a scheduler must not take it for 'nothing was delivered'"
    assert "DO NOT POWER-CYCLE" in done.stderr
    assert "nothing was sent" not in done.stderr


@pytest.mark.parametrize(("answers", "code"), [([0, 0], 0), ([0, 10, 10, 10], 10)])
def test_a_zero_of_no_wait_is_waited_for(tmp_path: Path, answers: list[int], code: int) -> None:
    bin_folder = tmp_path / "bin"
    script = shell_script(bin_folder)
    calls = pretend_trigger(bin_folder, answers, {1: "no"})
    done = run([str(script), "server42", "x"], bin_folder, {"HOME": str(tmp_path), "TRIGGER_OPTIONS": "--no-wait"})
    assert done.returncode == code
    assert ("complete dump: " in done.stdout) == (code == 0)
    assert calls.read_text().splitlines()[1] == "wait server42 --json"


def playbook(
    folder: Path, codes: list[int], safe: dict[int, str] | None = None
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    calls = pretend_trigger(folder, codes, safe)
    done = ansible(folder, {"HOME": str(folder)})
    return done, calls.read_text().splitlines()


def ansible(folder: Path, environment: dict[str, str], target: str = "server42") -> subprocess.CompletedProcess[str]:
    path = folder / "crash-dump.yml"
    path.write_text(block("Ansible", "yaml").replace("delay: 10", "delay: 0"))
    quiet = {"ANSIBLE_LOCALHOST_WARNING": "false", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOME": str(folder / "ansible")}
    quiet |= {"ANSIBLE_INVENTORY_UNPARSED_WARNING": "false", "ANSIBLE_STDOUT_CALLBACK": "default"}
    interpreter = f"ansible_python_interpreter={sys.executable}"
    words = ["ansible-playbook", str(path), "-e", f"target={target}", "-e", "reason=INC-1234", "-e", interpreter]
    return run(words, folder, {**environment, **quiet})


def test_the_playbook_for_real(bench: Benches, tmp_path: Path) -> None:
    b, bin_folder = bench(), tmp_path / "bin"
    program(
        bin_folder, "trigger", f'#!/bin/sh\nset -- "$@" --override no-record\nexec {sys.executable} -m trigger "$@"\n'
    )
    done = ansible(bin_folder, b.environment(), b.host)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "POWER-CYCLE" not in done.stdout
    assert b.machine.delivered() == 1


@pytest.mark.parametrize(
    ("codes", "safe", "words"),
    [
        ([8], {}, "said 8"),
        ([10, 9], {}, "said 9"),
        ([137, 7, 10, 10, 10], {}, "DO NOT POWER-CYCLE server42"),
        ([10, 3, 3, 3, 3], {}, "DO NOT POWER-CYCLE server42"),
        ([0], {1: "no"}, "DO NOT POWER-CYCLE server42"),
        ([10] * 5, {5: "yes"}, "said 10"),  # a dump that cannot be proved, on a host that has booted anew
    ],
)
def test_the_playbook_succeeds_only_with_a_dump(
    tmp_path: Path, codes: list[int], safe: dict[int, str], words: str
) -> None:
    done, calls = playbook(tmp_path / "bin", codes, safe)
    assert done.returncode != 0, done.stdout + done.stderr
    assert words in done.stdout
    assert [line.split()[0] for line in calls] == ["nmi", *["wait"] * (len(codes) - 1)]


def test_rundeck_runs_the_script_with_its_options(tmp_path: Path) -> None:
    [job] = yaml.safe_load(block("Rundeck", "yaml"))
    assert job["multipleExecutions"] is True, "hours of watching one host must not keep the next from its dump"
    assert "retry" not in job
    assert int(job["timeout"].removesuffix("h")) > 4
    [step] = job["sequence"]["commands"]
    bin_folder = tmp_path / "bin"
    shell_script(bin_folder)
    calls = pretend_trigger(bin_folder, [5])
    own = program(tmp_path, "step", step["script"])
    options = {"RD_OPTION_HOST": "server42", "RD_OPTION_REASON": "INC-1; touch /x"}
    assert {f"RD_OPTION_{option['name'].upper()}" for option in job["options"]} == set(options)
    done = run([str(own)], bin_folder, {"HOME": str(tmp_path), **options})
    assert done.returncode == 5
    assert calls.read_text().strip() == "nmi server42 --confirm server42 --reason INC-1; touch /x --json"
    for bad in ("server[1-9]", "-x", "a b", "a;b"):
        assert not re.fullmatch(job["options"][0]["regex"], bad)


def test_stackstorm_runs_the_script_and_gives_it_time(tmp_path: Path) -> None:
    action = yaml.safe_load(block("StackStorm", "yaml"))
    assert action["runner_type"] == "local-shell-script"
    assert action["parameters"]["timeout"]["default"] > 4 * 3600
    named = {name: p["position"] for name, p in action["parameters"].items() if "position" in p}
    bin_folder = tmp_path / "bin"
    shell_script(bin_folder)
    calls = pretend_trigger(bin_folder, [0])
    values = {"host": "server42", "reason": "INC 1"}
    words = [values[name] for name in sorted(named, key=lambda name: named[name])]
    done = run([str(bin_folder / action["entry_point"]), *words], bin_folder)
    assert done.returncode == 0
    assert calls.read_text().strip() == "nmi server42 --confirm server42 --reason INC 1 --json"


def test_the_workflow_of_stackstorm_goes_on_only_on_zero() -> None:
    flow: dict[str, Any] = yaml.safe_load(block("StackStorm", "yaml", 1))
    assert "retry" not in flow["tasks"]["fire"]
    ways = {way["do"]: way["when"] for way in flow["tasks"]["fire"]["next"]}
    assert set(ways) < set(flow["tasks"])
    assert ways["back_to_work"] == "<% succeeded() %>"
    harmless = {int(n) for n in re.findall(r"\d+", ways["call_a_person"])}
    assert harmless == set(MEANINGS) - {0, *NEVER}
    assert "not (" in ways["never_power_cycle"]
    for name, task in flow["tasks"].items():
        command = re.search(r'cmd="(.*)"', task["action"])
        if command:
            done = subprocess.run(["/bin/sh", "-c", command[1]], capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, name
            assert done.stdout.strip()


def test_no_example_retries_a_fire_or_power_cycles_on_seven_or_ten() -> None:
    for language in ("sh", "yaml"):
        for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL):
            assert not re.search(r"\bretry:", text)
    play = yaml.safe_load(block("Ansible", "yaml"))[0]
    fires = [task for task in play["tasks"] if "nmi" in json.dumps(task.get("ansible.builtin.command", {}))]
    assert len(fires) == 1
    assert not {"retries", "until", "async"} & set(fires[0])


def test_the_programs_that_the_examples_need_are_here() -> None:
    assert shutil.which("jq")
    assert (Path(sys.executable).parent / "ansible-playbook").exists()
