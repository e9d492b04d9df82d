"""What people and planners want of labels: colours, overlay, masks."""
