# The design has one clock, FCLK_CLK0, which the processing system's own constraints define, and no pins of its own:
# nothing to constrain, no exceptions.
