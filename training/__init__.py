"""Training, evaluation and export of the networks; runs from a checkout, never on the robot."""
