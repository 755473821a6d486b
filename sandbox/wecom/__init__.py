"""WeCom's API and what happens in a corp, an area of its documentation a file."""
