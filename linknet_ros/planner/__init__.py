"""Parameter files of planners for one camera and mount, and what is wrong in a given one."""
