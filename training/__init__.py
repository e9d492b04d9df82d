"""Training, evaluation and export of the networks; runs from a checkout, never on the robot."""

# For what it sets before OpenCV is imported.
import linknet_ros  # noqa: F401
