"""Bags, images and videos, without ROS."""
