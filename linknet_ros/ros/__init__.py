"""Arrays to messages and back; parameters, QoS, a ROS process."""
