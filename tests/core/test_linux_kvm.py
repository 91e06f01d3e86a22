"""What is looked at in a Linux kernel's memory, in a guest of our own that has the same structures."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg import Session
from kvmdbg.core import linux
from kvmdbg.core.linux import Message
from kvmdbg.errors import UsageError

GUESTS = Path(__file__).resolve().parents[2] / "guests"


@pytest.fixture
def dbg() -> Iterator[Session]:
    with kvmdbg.open(GUESTS / "linux.elf", serial="none") as session:
        session.run(timeout=10)
        yield session


def test_messages(dbg: Session) -> None:
    assert list(dbg.linux.messages()) == [
        Message(0, 5, "Linux version 6.1.0 (not really)"),
        Message(1500000, 6, "Memory: 128M"),
        Message(2250000, 4, "It is only as large as it looks"),
    ]


def test_a_ring_that_has_gone_round(dbg: Session) -> None:
    """The oldest descriptors are used again, and what would go over the end of the texts begins at their start."""
    ring = int.from_bytes(dbg.memory.read(dbg.symbols["prb"], 8), "little")
    tail = ring + dbg.evaluate("&((struct printk_ringbuffer *)0)->desc_ring.tail_id").value
    dbg.memory.write(tail, (2).to_bytes(8, "little"))
    assert next(dbg.linux.messages()).text == "Memory: 128M"
    descs = dbg.symbols["descs"]
    begin, end = (int.from_bytes(dbg.memory.read(descs + 24 * 3 + at, 8), "little") for at in (8, 16))
    text = dbg.memory.read(dbg.symbols["data"] + begin, end - begin)
    dbg.memory.write(descs + 24 * 3 + 8, (500).to_bytes(8, "little") + (512 + len(text)).to_bytes(8, "little"))
    dbg.memory.write(dbg.symbols["data"], text)
    assert [one.text for one in dbg.linux.messages()][-1] == "It is only as large as it looks"
    dbg.memory.write(descs + 24 * 3 + 8, (3).to_bytes(8, "little") * 2)  # a message without text
    assert [one.text for one in dbg.linux.messages()][-1] == ""
    dbg.memory.write(descs + 24 * 2, (2).to_bytes(8, "little"))  # one that is being written
    assert [one.text for one in dbg.linux.messages()] == [""]


def test_processes_and_their_threads(dbg: Session) -> None:
    found = list(dbg.linux.tasks())
    assert [(one.pid, one.leader, one.state, one.name) for one in found] == [
        (0, 0, 0, "swapper/0"),
        (1, 1, 1, "init"),
        (42, 42, 0, "sh"),
        (43, 42, 0x402, "sh/worker"),
    ]
    assert found[0].address == dbg.symbols["init_task"]


def test_a_list_that_goes_nowhere_ends(dbg: Session) -> None:
    init = dbg.symbols["init"]
    offset = dbg.evaluate("&((struct task_struct *)0)->tasks").value
    dbg.memory.write(init + offset, bytes(8))
    assert [one.pid for one in dbg.linux.tasks()] == [0, 1]


def test_lists_in_lists_that_never_end_are_followed_a_while(dbg: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 65,536 processes had 65,536 threads."""
    monkeypatch.setattr(linux, "MOST", 50)
    *_, shell, worker = dbg.linux.tasks()
    for task, member in ((shell, "tasks"), (worker, "thread_node")):
        at = task.address + dbg.evaluate(f"&((struct task_struct *)0)->{member}").value
        dbg.memory.write(at, at.to_bytes(8, "little"))
    assert 3 < len(list(dbg.linux.tasks())) <= 60


@pytest.mark.parametrize("member", ["desc_ring.count_bits", "text_data_ring.size_bits"])
def test_a_ring_of_more_messages_than_there_is_memory(dbg: Session, member: str) -> None:
    """A number of 512 MiB was made to see that it is too large."""
    ring = int.from_bytes(dbg.memory.read(dbg.symbols["prb"], 8), "little")
    dbg.memory.write(ring + dbg.evaluate(f"&((struct printk_ringbuffer *)0)->{member}").value, b"\xff" * 4)
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match="has not made its ring of messages yet"):
            list(dbg.linux.messages())
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()


def test_modules(dbg: Session) -> None:
    found = list(dbg.linux.modules())
    assert [(one.name, one.base, one.size, one.references, one.users) for one in found] == [
        ("virtio_net", 0xA0010000, 61440, 0, ()),
        ("virtio", 0xA0000000, 20480, 1, ("virtio_net",)),
    ]


def test_other_guests_are_no_linux() -> None:
    with kvmdbg.open(GUESTS / "kernel-O0.elf", serial="none") as dbg:
        for question in (dbg.linux.messages, dbg.linux.tasks, dbg.linux.modules):
            with pytest.raises(UsageError, match="this guest is no Linux kernel: it has no symbol init_task"):
                list(question())


def test_a_kernel_that_nothing_tells_about(dbg: Session) -> None:
    with kvmdbg.open(GUESTS / "hello16.bin", serial="none") as bare:
        bare.symbols.add(dbg.symbols)
        with pytest.raises(UsageError, match=r"neither types in the kernel \(BTF\) nor debug information"):
            list(bare.linux.tasks())
