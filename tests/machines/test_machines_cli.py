"""What of the two machines can be tested without booting them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.machines import boot, kvm_amd, kvm_intel, results
from tests.machines.console import Console
from tests.machines.dev_kvm import why_unusable
from tests.machines.results import MARK
from tests.machines.scratch_disk import ScratchDisk, shared_libraries

MODULES_DEP = """\
kernel/arch/x86/kvm/kvm.ko: kernel/virt/lib/irqbypass.ko
kernel/arch/x86/kvm/kvm-amd.ko: kernel/drivers/crypto/ccp/ccp.ko kernel/arch/x86/kvm/kvm.ko kernel/virt/lib/irqbypass.ko
kernel/drivers/crypto/ccp/ccp.ko.xz:
kernel/drivers/crypto/ccp/ccp.ko:
kernel/virt/lib/irqbypass.ko:
kernel/fs/ext4/ext4.ko: kernel/lib/crc16.ko
kernel/lib/crc16.ko:
"""


def order(*wanted: str, builtin: str = "") -> list[str]:
    return [Path(path).name for path in boot.module_order(MODULES_DEP, builtin, wanted)]


def test_modules_follow_what_they_need() -> None:
    assert order("kvm-amd") == ["irqbypass.ko", "kvm.ko", "ccp.ko", "kvm-amd.ko"]


def test_modules_are_named_once_in_the_order_asked_for() -> None:
    assert order("ext4", "kvm_amd", "kvm") == ["crc16.ko", "ext4.ko", "irqbypass.ko", "kvm.ko", "ccp.ko", "kvm-amd.ko"]


def test_modules_in_the_kernel_or_not_needed_are_left_out() -> None:
    assert order("9p", "crc32c_intel?", "kvm", builtin="kernel/fs/9p/9p.ko\n") == ["irqbypass.ko", "kvm.ko"]


def test_a_module_that_is_missing_is_named() -> None:
    with pytest.raises(boot.MachineError, match="no module kvm-arm"):
        order("kvm-arm")


def test_cpio_is_what_busybox_and_the_kernel_read() -> None:
    archive = boot.cpio({"bin": (0o040755, b""), "bin/a": (0o100755, b"12345")})
    # the fields of the second entry: magic, inode, mode, …, size (7th), …, length of the name (12th), check
    entry = archive[archive.index(b"070701", 6) :]
    fields = [int(entry[6 + 8 * n : 14 + 8 * n], 16) for n in range(13)]
    assert (fields[0], fields[1], fields[6], fields[11]) == (2, 0o100755, 5, 6)
    assert entry[110:116] == b"bin/a\0"
    assert entry[116:124] == b"12345\0\0\0"
    assert len(archive) % 4 == 0
    assert archive.index(b"TRAILER!!!\0") > archive.index(b"12345")


def test_the_initramfs_holds_the_modules_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "modules.dep").write_text("a/one.ko: b/two-x.ko\nb/two-x.ko:\n")
    for path, data in {"a/one.ko": b"ONE", "b/two-x.ko": b"TWO", "busybox": b"BUSY"}.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    monkeypatch.setattr(boot, "BUSYBOX", tmp_path / "busybox")
    image = boot.initramfs(boot.Kernel(tmp_path / "vmlinuz", tmp_path), ["one"], "mount here", {"job": b"JOB"})
    assert b"two_x.ko\none.ko\n" in image
    assert b"mount here\nR=/root" in image
    assert all(data in image for data in (b"ONE", b"TWO", b"BUSY", b"JOB"))


def test_a_job_keeps_its_words_and_its_folder() -> None:
    text = boot.job_script(["echo", "a b", "$HOME"], "/some place", {"NAME": "it's"})
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True)
    assert done.returncode == boot.NO_MACHINE  # there is no such folder
    done = subprocess.run(["bash", "-c", text.replace("'/some place'", "/")], capture_output=True, text=True)
    assert done.stdout == "a b $HOME\n"


def test_console_shows_what_the_command_prints_and_nothing_else() -> None:
    text = f"boot\r\n{MARK}start\r\nhello\r\n{MARK}result {{}}\r\nno newline{MARK}exit 3\r\nreboot\r\n"
    for size in (1, 2, 7, len(text)):
        console, shown = Console(), ""
        for at in range(0, len(text), size):
            shown += console.feed(text[at : at + size])
        assert shown == "hello\nno newline"
        assert (console.status, console.result, console.boot) == (3, "{}", "boot\n")


def test_console_does_not_hold_back_a_line_that_is_not_ended() -> None:
    console = Console()
    console.feed(f"{MARK}start\n")
    assert console.feed("...") == "..."
    assert console.feed("KVM") == ""
    assert console.feed("!") == "KVM!"


def test_follow_gives_the_status_and_ends_the_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "serial.log"
    log.write_text(f"{MARK}start\nhi\n{MARK}result r\n{MARK}exit 7\n")
    machine = boot.launch(["sh", "-c", "sleep 100; true"], tmp_path, "emulator.log")
    run = boot.Run(["true"], timeout=10, keep=tmp_path / "kept")
    assert boot.follow(machine, log, run) == 7
    assert machine.returncode is not None
    with pytest.raises(ProcessLookupError):  # the sleep behind the shell has gone, too
        for _ in range(100):
            os.killpg(machine.pid, 0)
            time.sleep(0.05)
    assert run.result == "r"
    assert capsys.readouterr().out == "hi\n"
    assert (tmp_path / "kept/serial.log").exists()


def test_the_time_of_a_machine_is_told_by_files_of_tests(tmp_path: Path) -> None:
    log = tmp_path / "serial.log"
    log.write_text(f"{MARK}start\n{MARK}progress 1 of 2 tests, at tests/some.py::test_one[a, at b::c]\n")
    run = boot.Run(["true"], timeout=2)
    assert boot.follow(boot.launch(["sh", "-c", "while :; do :; done"], tmp_path, "log"), log, run) == boot.NO_END
    assert list(run.durations) == ["tests/some.py"]
    assert 0 < run.durations["tests/some.py"] <= 4000


def test_follow_tells_a_machine_that_ended_from_one_that_takes_too_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "serial.log"
    log.write_text("Kernel panic\n")
    run = boot.Run(["true"], timeout=10)
    assert boot.follow(boot.launch(["true"], tmp_path, "emulator.log"), log, run) == boot.NO_MACHINE
    assert "Kernel panic" in capsys.readouterr().err
    run.timeout = 0.2
    log.write_text(f"{MARK}start\n{MARK}failed test_one\n{MARK}progress 2 of 3 tests, at test_two\n")
    assert boot.follow(boot.launch(["sleep", "100"], tmp_path, "emulator.log"), log, run) == boot.NO_END
    assert run.failed == ["test_one"]
    assert "within 0.2 s; the last heard of the tests: 2 of 3 tests, at test_two" in capsys.readouterr().err


@pytest.mark.parametrize("machine", [kvm_amd, kvm_intel])
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["ls"], "unrecognized arguments: ls"),
        (["--"], "a command belongs after --"),
        (["-t", "0"], "above 0"),
        (["-t", "soon", "--", "ls"], "invalid float value"),
        (["--report", "r.jsonl", "--", "ls"], "--report goes with the tests"),
        (["--only", "tests/core", "--", "ls"], "--only goes with the tests"),
        (["--durations", "--", "ls"], "--durations goes with the tests"),
    ],
)
def test_mistakes_on_the_command_line(
    machine: object, arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main = kvm_amd.main if machine is kvm_amd else kvm_intel.main
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert complaint in capsys.readouterr().err


def test_what_is_taken_along_must_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        kvm_intel.main(["-i", "no/such/file", "--", "ls"])
    assert "no/such/file does not exist" in capsys.readouterr().err


def test_the_command_keeps_its_own_dashes() -> None:
    _, run = boot.parse(boot.parser("kvm_amd", "", 5), ["-v", "--", "env", "--", "-t", "1"])
    assert (run.command, run.verbose, run.timeout) == (["env", "--", "-t", "1"], True, 5)


def test_a_machine_that_cannot_be_set_up_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    def start(_: boot.Run) -> int:
        raise boot.MachineError("no kernel")

    before = signal.getsignal(signal.SIGTERM)
    try:
        assert boot.main("kvm_amd", start, boot.Run(["ls"], 1)) == boot.NO_MACHINE
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err == "kvm_amd: no kernel\n"


def test_a_report_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "new/results.jsonl"
    one = results.Result("2026-01-02", "kvm_amd", "6.1", "kvm_amd", 10, 1, 0)
    two = results.Result("2026-01-03", "here", "6.1", "kvm_pvm", 12, 0, 1, {"no PAE": 1})
    three = results.Result("2026-01-04", "kvm_amd", "6.1", "kvm_amd", 11, 0, 0)
    for each in (two, one, three):
        results.update(path, each)
    assert results.read(path) == [three, two]
    page = results.render(results.read(path))
    assert "| `kvm_amd` | QEMU's emulator (`make test-kvm-amd`) | 6.1 | 2026-01-04 | 11 | 0 | 0 |" in page
    assert "Skipped on `kvm_pvm`:\n\n- no PAE (1)" in page


def test_the_page_is_made_from_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines, page = tmp_path / "r.jsonl", tmp_path / "r.md"
    with pytest.raises(SystemExit):
        results.main([str(lines), str(page)])
    assert "holds no result" in capsys.readouterr().err
    results.update(lines, results.Result("2026-01-02", "here", "6.1", "kvm_intel", 10, 0, 0))
    assert results.main([str(lines), str(page)]) == 0
    assert "`kvm_intel` | the host itself" in page.read_text()


def test_the_module_behind_dev_kvm(tmp_path: Path) -> None:
    assert results.module_here(tmp_path) == "none"
    (tmp_path / "kvm").mkdir()
    (tmp_path / "kvm_intel").mkdir()
    assert results.module_here(tmp_path) == "kvm_intel"


def test_why_dev_kvm_cannot_be_used(tmp_path: Path) -> None:
    assert "No such file" in why_unusable(str(tmp_path / "kvm"))
    (tmp_path / "kvm").write_text("")
    assert "makes no VM" in why_unusable(str(tmp_path / "kvm"))


def test_the_scratch_disk_keeps_paths_links_and_libraries(tmp_path: Path) -> None:
    disk = ScratchDisk(tmp_path / "root")
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("file")
    disk.add(tmp_path / "link")
    assert disk.inside(tmp_path / "link").is_symlink()
    assert disk.inside(tmp_path / "file").read_text() == "text"
    disk.add_programs(["env"])
    libraries = shared_libraries(Path("/usr/bin/env"))
    assert libraries
    assert all(disk.inside(library).exists() for library in libraries)
    with pytest.raises(boot.MachineError, match="does not exist"):
        disk.add(tmp_path / "nothing")
    with pytest.raises(boot.MachineError, match="no-such-program is not on this machine"):
        disk.add_programs(["no-such-program"])
