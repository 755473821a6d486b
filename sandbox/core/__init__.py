"""What both families share: the running sandbox and its state, the frame around API calls, events
and callbacks."""
