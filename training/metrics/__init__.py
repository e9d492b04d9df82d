"""Scores that only training needs; the confusion matrix is linknet_ros.metrics."""
