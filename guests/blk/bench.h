// Many requests, timed.
#pragma once

#include "guest.h"

// Does what `bench=` on the command `line` asks for; the status of the run.
int bench(const struct hvm_start_info *info, const char *line);
