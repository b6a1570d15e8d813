// Where a processor starts: below 1 MiB, on a page, as a SIPI names it.
#pragma once

#define TRAMPOLINE 0x10000

#ifndef __ASSEMBLER__
void install_trampoline(void);
#endif
