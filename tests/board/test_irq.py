import pytest

from ringlet.board.irq import KvmIrqLine
from ringlet.kvm.exits import PortWrite
from ringlet.kvm.memory import GuestMemory, anonymous
from ringlet.kvm.registers import Registers, code_segment
from ringlet.kvm.system import System
from ringlet.kvm.vm import Vm

# Tells the requests that wait in both PICs (Intel 8259A: the IRR is what a read gives at first):
# in al, 0x20; out 0x80, al; in al, 0xa0; out 0x80, al; jmp to the start
CODE = bytes.fromhex("e420 e680 e4a0 e680 ebf6")


@pytest.mark.needs_kvm
@pytest.mark.parametrize("number", [3, 4, 12])
def test_a_line_is_an_input_of_the_pics(number: int) -> None:
    with GuestMemory([anonymous(0, 0x1000)]) as memory, System() as system, Vm(system) as vm:
        memory.write(0, CODE)
        vm.map_memory(memory)
        vm.create_irqchip()
        vcpu = vm.create_vcpu()
        special = vcpu.special_registers
        vcpu.special_registers = special._replace(cs=code_segment(0, limit=0xFFFF, bits=16))
        vcpu.registers = Registers()

        def requests() -> int:
            first, second = vcpu.run(), vcpu.run()
            assert isinstance(first, PortWrite)
            assert isinstance(second, PortWrite)
            return first.value | second.value << 8

        line = KvmIrqLine(vm, number)
        assert not requests() & 1 << number
        line.set(False)
        assert not requests() & 1 << number
        line.set(True)
        assert requests() & 1 << number
        others = [KvmIrqLine(vm, other) for other in (5, 6)]
        others[0].set(True)
        assert requests() & 1 << number
        assert requests() & 1 << 5
        assert not requests() & 1 << 6
