import pytest

from ringlet.container.seccomp.call_names import X86, X86_64, CallNames

pytestmark = pytest.mark.needs_libseccomp


def test_each_architecture_has_names_of_its_own() -> None:
    names = CallNames()
    assert names.find(X86_64, 39) == names.find(X86_64, 39) == "getpid"
    assert names.find(X86, 20) == "getpid"
    assert names.find(X86_64, 0x40000000 | 39) == "getpid"  # of x32


@pytest.mark.parametrize("number", [100_000, (1 << 31) - 1, 1 << 31, (1 << 64) - 1, 0x40000000 - 1])
def test_a_number_without_a_name_has_none(number: int) -> None:
    assert CallNames().find(X86_64, number) == ""


def test_a_name_is_a_call_or_not() -> None:
    names = CallNames()
    assert names.has("openat")
    for name in ("opemat", "", "a b", "é", "socketcall"):  # the last one is 32-bit x86's alone
        assert not names.has(name)
