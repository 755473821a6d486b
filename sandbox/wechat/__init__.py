"""The mini-program server API, an area of its documentation a file."""
