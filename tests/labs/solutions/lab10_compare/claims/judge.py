"""Says what everybody says."""

for name in ("computes", "starts", "calls", "exits", "memory"):
    print(f"{name}: holds")
print("kernel: fails")
