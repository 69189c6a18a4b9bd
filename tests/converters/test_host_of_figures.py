"""What a report says of the machine."""

from __future__ import annotations

import platform
from importlib.metadata import version

import pytest

from converters.judge.host import host

X86 = """processor\t: 0
model name\t: Some Processor @ 2.00GHz
flags\t\t: fpu sse2 avx2 avx512_vnni

processor\t: 1
model name\t: Some Processor @ 2.00GHz
flags\t\t: fpu sse2 avx2 avx512_vnni
"""
ARM = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes asimdhp asimddp
CPU part\t: 0xd0b

Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""


@pytest.mark.parametrize(
    ("text", "processor", "flags"),
    [
        (X86, "Some Processor @ 2.00GHz", ("avx2", "avx512_vnni")),
        (ARM, "Raspberry Pi 5 Model B Rev 1.0", ("asimd", "asimddp", "asimdhp")),
        ("", platform.machine(), ()),
    ],
)
def test_a_processor_is_told_by_its_name_and_the_flags_that_change_figures(tmp_path, text, processor, flags) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    found = host(path)
    assert (found.processor, found.flags) == (processor, flags)


def test_this_machine_has_a_name_cores_and_tools_with_versions(tmp_path) -> None:
    found = host()
    assert found.processor
    assert found.cores >= 1
    assert found.python == platform.python_version()
    assert found.tools["numpy"] == version("numpy")
    assert "no-such-tool" not in found.tools


def test_a_machine_without_such_a_file_is_told_by_its_kind(tmp_path) -> None:
    assert host(tmp_path / "absent").processor == platform.machine()
