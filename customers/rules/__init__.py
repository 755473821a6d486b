"""The one language of rules: a text becomes a checked tree, and the tree a predicate, a MongoDB
filter, a mask over columns, and an explanation, which all say the same."""
