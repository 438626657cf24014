"""embedtune against its peers and against the floor, in one run each; results, with the hardware, in results/."""
