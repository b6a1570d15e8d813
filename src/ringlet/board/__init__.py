"""What joins the parts of a PC: buses, interrupt lines and the address map."""
