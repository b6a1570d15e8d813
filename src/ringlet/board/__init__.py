"""What joins the parts of a PC: buses, interrupt lines, the address map, firmware's tables."""
