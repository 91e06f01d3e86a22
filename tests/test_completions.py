"""The completion of the command line in bash, zsh and fish, each asked by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kvmdbg import cli, completions

ROOT = Path(__file__).resolve().parents[1]
TIME_SCALE = float(os.environ.get("KVMDBG_TIME_SCALE", "1"))
CASES = [
    (["--mo"], {"--mode", "--module"}),
    (["--mode", ""], {"real", "prot", "long"}),
    (["--device", "isa-debug-"], {"isa-debug-exit"}),
    (["--format", "mu"], {"multiboot", "multiboot2"}),
    (["--bios", "fil"], {"file.bin"}),
    (["de"], {"demo"}),
    (["fil"], {"file.bin"}),
    (["demo", "kernel"], {"kernel", "kernel-O2"}),
    (["completions", "z"], {"zsh"}),
]
"""Words typed so far, and what completes the last of them."""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("completions")
    for shell in completions.SHELLS:
        (folder / shell).write_text(completions.script(cli.parser(), shell))
    (folder / "file.bin").touch()
    return {shell: folder / shell for shell in completions.SHELLS}


def ran(*command: str | Path, cwd: Path, stdin: str = "") -> str:
    env = {**os.environ, "HOME": str(cwd), "XDG_CONFIG_HOME": str(cwd), "XDG_DATA_HOME": str(cwd)}
    done = subprocess.run(
        command, cwd=cwd, env=env, input=stdin, capture_output=True, text=True, timeout=20 * TIME_SCALE
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def asked_of_bash(script: Path, words: list[str]) -> set[str]:
    line = ["kvmdbg", *words]
    code = f"""
source {script}
COMP_WORDS=({" ".join(f"'{word}'" for word in line)}); COMP_CWORD={len(line) - 1}
$(complete -p kvmdbg | sed 's/.*-F \\([^ ]*\\) .*/\\1/') kvmdbg '{line[-1]}' '{line[-2]}' 2>/dev/null
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    return {one.strip() for one in ran("bash", "--norc", "-c", code, cwd=script.parent).splitlines()}


def asked_of_fish(script: Path, words: list[str]) -> set[str]:
    code = f"source {script}; complete -C 'kvmdbg {' '.join(words)}'"
    return {line.split("\t")[0] for line in ran("fish", "--no-config", "-c", code, cwd=script.parent).splitlines()}


@pytest.mark.parametrize("words, wanted", CASES, ids=lambda case: " ".join(case) if isinstance(case, list) else "")
@pytest.mark.parametrize("ask", [asked_of_bash, asked_of_fish])
def test_what_is_completed(ask, words: list[str], wanted: set[str], scripts: dict[str, Path]) -> None:  # type: ignore[no-untyped-def]
    assert ask(scripts[ask.__name__.rpartition("_")[2]], words) == wanted


def test_zsh_takes_it(scripts: dict[str, Path]) -> None:
    code = f'autoload -Uz compinit; compinit -u -D; eval "$(<{scripts["zsh"]})"; print -r -- $_comps[kvmdbg]'
    assert ran("zsh", "-f", "-c", code, cwd=scripts["zsh"].parent) == "_shtab_kvmdbg\n"
    text = scripts["zsh"].read_text()
    assert "(real prot long)" in text and "isa-debug-exit" in text and "_kvmdbg_guest" in text


def test_fish_knows_short_options_of_several_letters(scripts: dict[str, Path]) -> None:
    assert {"-ex", "-nx"} <= asked_of_fish(scripts["fish"], ["-"])


def test_fish_says_what_the_words_mean(scripts: dict[str, Path]) -> None:
    asked = "complete -C 'kvmdbg demo kernel'; complete -C 'kvmdbg lock'; complete -C 'kvmdbg completions z'"
    shown = ran("fish", "--no-config", "-c", f"source {scripts['fish']}; {asked}", cwd=scripts["fish"].parent)
    assert "kernel-O2\tthe same kernel, optimized: functions inlined, values in registers" in shown
    assert "lockstep\trun a guest on both engines and compare them" in shown
    assert "zsh" in shown.splitlines(), "and not what it means behind a script's name"


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main(["completions", "bash"]) == 0
    assert "-F _shtab_kvmdbg kvmdbg" in capsys.readouterr().out
    assert cli.main(["completions"]) == 2 and cli.main(["completions", "csh"]) == 2
    assert cli.main(["completions", "--help"]) == 0
    assert capsys.readouterr().out == completions.HELP * 3
    monkeypatch.chdir(tmp_path)
    Path("completions").write_bytes(b"\xf4")
    assert cli.main(["completions", "bash"]) == 2, "a guest's image of that name"
    assert "one word too many" in capsys.readouterr().err


def test_nothing_of_it_is_imported_otherwise() -> None:
    code = "import sys; from kvmdbg import cli; cli.main(['--version']); print('shtab' in sys.modules)"
    assert ran(sys.executable, "-c", code, cwd=ROOT).splitlines()[-1] == "False"
