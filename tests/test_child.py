"""What happens in a child process ends there, as one error of ours."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge import errors
from edge.child import Child
from edge.errors import ChildError, EdgeError, MissingExtraError, ModelError, OutOfMemoryError, OutOfTimeError
from tests.simulators.child_work import Given, Made

WORK = "tests.simulators.child_work"
SOON_S = 30.0


@pytest.fixture
def child() -> Iterator[Child]:
    with Child(WORK, what="the work", memory_mb=512) as started:
        yield started


def call(child: Child, function: str, *, number: int = 0, word: str = "", timeout_s: float = SOON_S) -> Made:
    return child.call(function, Given(number=number, word=word), Made, timeout_s=timeout_s)


def test_a_child_keeps_what_it_has_between_calls(child: Child) -> None:
    assert [call(child, "add", number=number).number for number in (1, 2, 3)] == [1, 3, 6]


def test_work_is_done_in_another_process(child: Child) -> None:
    assert call(child, "say_who").number != os.getpid()


def test_a_child_may_run_another_interpreter() -> None:
    with Child(WORK, what="the work", python=str(Path(sys.executable).absolute())) as child:
        assert call(child, "say_who").word == str(Path(sys.executable).absolute())


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL], ids=lambda number: number.name)
def test_death_by_a_signal_is_one_sentence_that_names_it(child: Child, number: signal.Signals) -> None:
    with pytest.raises(ChildError, match=rf"^the work kills its process \({number.name}\)$"):
        call(child, "raise_signal", number=number)
    assert not child.is_alive


def test_an_early_end_is_told_with_its_status_and_last_words(child: Child) -> None:
    with pytest.raises(ChildError, match=r"^the work ended with status 7: I have had enough$"):
        call(child, "leave", number=7)


def test_work_that_never_ends_is_ended(child: Child) -> None:
    with pytest.raises(OutOfTimeError, match=r"^the work did not end within 0\.5 s$"):
        call(child, "hang", timeout_s=0.5)
    assert not child.is_alive


def test_work_that_dribbles_has_no_more_time_than_work_that_is_silent(child: Child) -> None:
    call(child, "add")
    with pytest.raises(OutOfTimeError):
        call(child, "dribble", timeout_s=1.0)


def test_work_that_wants_more_memory_than_it_may_have_is_refused(child: Child) -> None:
    with pytest.raises(OutOfMemoryError, match=r"^the work needs more memory than the 512 MB it may have$"):
        call(child, "take_memory", number=2048)


def test_a_child_that_was_refused_memory_goes_on(child: Child) -> None:
    with pytest.raises(OutOfMemoryError):
        call(child, "take_memory", number=2048)
    assert call(child, "take_memory", number=1).number == 1 << 20


def test_without_a_limit_a_child_takes_what_it_wants() -> None:
    with Child(WORK, what="the work") as child:
        assert call(child, "take_memory", number=600).number == 600 << 20


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - {"EdgeError", "MissingExtraError", "ConfigError"}))
def test_a_refusal_comes_back_as_the_error_that_it_was(child: Child, name: str) -> None:
    with pytest.raises(EdgeError, match=r"^expected this, found that; try the other$") as raised:
        call(child, "refuse", word=name)
    assert type(raised.value).__name__ == name
    assert call(child, "add", number=1).number == 1


def test_a_missing_extra_comes_back_with_the_command_that_adds_it(child: Child) -> None:
    with pytest.raises(MissingExtraError) as raised:
        call(child, "refuse", word="MissingExtraError")
    assert str(raised.value) == str(MissingExtraError("a thing", "some-extra"))
    assert raised.value.extra == "some-extra"


def test_a_config_error_comes_back_with_its_lines(child: Child) -> None:
    with pytest.raises(errors.ConfigError) as raised:
        call(child, "refuse", word="ConfigError")
    assert str(raised.value) == "no such key\nno such value"


def test_what_nobody_expected_ends_the_child_and_is_told(child: Child) -> None:
    with pytest.raises(ChildError, match=r"^the work failed: KeyError: 'nobody expected this'$"):
        call(child, "fail")


def test_after_what_nobody_expected_the_child_is_gone_for_the_next_call_to_see(child: Child) -> None:
    with pytest.raises(ChildError):
        call(child, "fail")
    assert not child.is_alive
    with pytest.raises(ChildError) as raised:
        call(child, "add")
    assert "nobody expected" not in str(raised.value), "that was told already"


def test_last_words_are_those_of_this_child_and_of_this_call(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("MemoryError\n")  # of an earlier run
    with Child(WORK, what="the work", memory_mb=512, log=log) as child:
        call(child, "chatter")
        with pytest.raises(ChildError, match=r"^the work kills its process \(SIGSEGV\)$"):
            call(child, "raise_signal", number=signal.SIGSEGV)


def test_what_a_child_says_while_it_starts_is_its_last_word_too(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'no module named msgspec' >&2\nexit 3\n")
    python.chmod(0o755)
    with (
        Child(WORK, what="the work", python=str(python)) as child,
        pytest.raises(ChildError, match=r"^the work ended with status 3: no module named msgspec$"),
    ):
        call(child, "add")


def test_a_module_that_is_not_there_is_told() -> None:
    with (
        Child("tests.simulators.no_such_module", what="the work") as child,
        pytest.raises(ChildError, match=r"^the work failed: ModuleNotFoundError: No module named"),
    ):
        call(child, "add")


def test_an_interpreter_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ChildError, match=r"^no process could be started for the work: No such file or directory$"):
        Child(WORK, what="the work", python=str(tmp_path / "python"))


def test_chatter_goes_to_the_log_and_never_to_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    with Child(WORK, what="the work", log=log) as child:
        assert call(child, "chatter").word == ""  # and nobody answers its questions
    assert capfd.readouterr() == ("", "")
    assert {"to stdout", "to stderr", "to descriptor 1", "to descriptor 2"} <= set(log.read_text().splitlines())


def test_an_answer_that_is_no_reply_ends_the_child(child: Child) -> None:
    with pytest.raises(ChildError, match=r"^the work answered with something that is no reply"):
        call(child, "babble")
    assert not child.is_alive


def test_a_call_after_death_is_the_same_kind_of_error(child: Child) -> None:
    with pytest.raises(ChildError):
        call(child, "raise_signal", number=signal.SIGKILL)
    with pytest.raises(ChildError, match=r"^the work kills its process \(SIGKILL"):
        call(child, "add")


def test_a_call_after_closing_is_an_error_too(child: Child) -> None:
    call(child, "add")
    child.close()
    child.close()
    with pytest.raises(ChildError):
        call(child, "add")


def test_a_child_dies_with_whoever_started_it(child: Child) -> None:
    grandchild = call(child, "have_a_child").number
    watch = os.pidfd_open(grandchild)
    try:
        with pytest.raises(ChildError):
            call(child, "raise_signal", number=signal.SIGKILL)
        ready, _, _ = select.select([watch], [], [], SOON_S)
        assert ready, "the grandchild goes on without its parent"
    finally:
        os.close(watch)


def test_leaving_with_an_error_does_not_wait_for_work_that_hangs() -> None:
    def leave(child: Child) -> None:
        with child:
            call(child, "ignore_signals")
            raise ModelError("enough")

    child = Child(WORK, what="the work")
    with pytest.raises(ModelError):
        leave(child)
    assert not child.is_alive


def test_a_child_inherits_the_descriptors_that_it_is_given(tmp_path: Path) -> None:
    handle = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        with Child(WORK, what="the work", files=(handle,)) as child:
            assert call(child, "add", number=2).number == 2
    finally:
        os.close(handle)


def test_a_child_that_was_only_closed_leaves_no_open_file_behind() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    child = Child(WORK, what="the work")
    call(child, "add")
    child.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
