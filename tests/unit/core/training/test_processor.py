import pytest

from core.training.processor import multiplies_bfloat16, name_processor, read_processor

ZEN = """processor\t: 0
cpu family\t: 25
model\t\t: 17
model name\t: Some CPU
stepping\t: 1
flags\t\t: fpu avx2 avx512_bf16
"""
OLD = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16\n"


@pytest.fixture
def tell(tmp_path):
    def tell(text):
        path = tmp_path / "cpuinfo"
        path.write_text(text)
        return path

    return tell


@pytest.mark.parametrize(("text", "has"), [(ZEN, True), (OLD, False), (ARM, True), ("", False)])
def test_the_kernels_flags_say_whether_there_is_bfloat16(tell, text, has):
    assert multiplies_bfloat16(tell(text)) == has


def test_only_the_first_processor_is_read(tell):
    assert read_processor(tell(OLD + "\n" + ZEN))["flags"] == "fpu avx2"


def test_another_processor_has_another_name(tell):
    names = [name_processor(tell(text)) for text in (ZEN, ZEN, ZEN.replace("17", "18"), ZEN.replace(" avx2", ""), ARM)]
    assert names[0] == names[1]
    assert len(set(names)) == 4
    assert "Some CPU 25 17 1" in names[0]


def test_a_kernel_that_says_nothing_is_no_error(tmp_path):
    assert read_processor(tmp_path / "missing") == {}
    assert not multiplies_bfloat16(tmp_path / "missing")
    assert name_processor(tmp_path / "missing")
