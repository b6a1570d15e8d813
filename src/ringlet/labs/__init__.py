"""What there is to learn in each lab, and whether a student's work is right.

A lab is one folder of this room, and nothing else knows the lab:

    lab.toml    number, title, version, the files that a student hands in
    text.md     aims, idea, task, steps, questions
    starter/    the files that a student begins with
    checks.py   CHECKS: the requirements, each with its points

A student's code is hostile until checked, so the grader holds to four rules.

1. The grader's process never imports or executes student code. The code runs in a container of
   ringlet's own (program.py): no network, no file of the host but /usr and Python, limits on
   memory, processes, time and output. The container gets a copy of the student's files, and a new
   copy for each check, so no check can spoil the next one, and nothing of the student's is lost.
2. The container has nothing of the grader's: no solution, no grade, no way to this process but the
   pipes of its standard streams.
3. A verdict is about a machine, never about words. There are two kinds of labs, and two ways to
   look at a machine.
   - The student makes a **guest**. The build runs in a container, and hands the image over through
     a pipe, as bytes. The grader boots the image in a machine of its own (guest.py), whose devices
     take down registers and memory on the vCPU's thread. A guest has no means to change what KVM
     says of it.
   - The student makes a **program of the host**, such as a VMM. The grader gives the program work
     that nobody has seen before (a guest with random numbers in it), and looks from outside at
     what the kernel knows of the program while it works (process.py): its descriptors, the pages
     that it shares with KVM, the guest's memory.
4. What a program prints counts only as a result of that unknown work. Text that is known
   beforehand earns nothing.

Each check says which KVM it needs, and runs where there is one: on this host (grade.py, host.py),
or in an emulated machine, in which the same grader runs (nested.py). grader.py decides.

What this can't tell: a program that interprets the guest's instructions by itself, and writes to a
VM's shared page what KVM would have written there. Whoever writes that has done more than the lab
asks for. A system-call tracer in place of process.py would see such a program through; the labs
don't depend on it, since the host may forbid ptrace.
"""

from __future__ import annotations
