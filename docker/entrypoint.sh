#!/bin/bash
# Runs a command with ROS and this package in its environment.
set -e
# Not `set -u`: ROS's own setup files read variables that are not set.
source "/opt/ros/$ROS_DISTRO/setup.bash"
source /ws/install/setup.bash
# In place of the shell, so that Ctrl-C and `docker stop` reach the command itself.
exec "$@"
