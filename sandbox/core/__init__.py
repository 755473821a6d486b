"""What both families share: the running sandbox with its state, the frame around API calls, events and callbacks."""
